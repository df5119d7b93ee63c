// cp.async as late as the rules allow: the destination is NaN from the issue on, and the bytes come when the thread
// waits for their group. Without a wait they never come.
#include <cstring>

#include "emulator/core.h"
#include "emulator/sanitizers.h"

namespace emu {

void copy_async(void* shared, const void* global, int bytes, int source_bytes, Site site) {
  Worker& w = *this_worker();
  Thread& t = w.thread();
  const tsan::Own own;
  if (!w.shared.holds(shared)) {
    w.fail(cudaErrorIllegalAddress, "cp.async: the destination is not in shared memory", site);
  }
  if (source_bytes < 0 || source_bytes > bytes) {
    w.fail(cudaErrorLaunchFailure,
           text("cp.async: got ", source_bytes, " source bytes, expected 0 to ", bytes), site);
  }
  check_access(shared, static_cast<size_t>(bytes), Access::store, site);
  if (source_bytes)
    check_access(global, static_cast<size_t>(source_bytes), Access::load, site, static_cast<size_t>(bytes));
  std::memset(shared, 0xff, static_cast<size_t>(bytes));
  t.copies.push_back({shared, global, bytes, source_bytes, t.groups});
}

void copy_async_commit() { ++this_worker()->thread().groups; }

void copy_async_wait(int groups_left) {
  Thread& t = this_worker()->thread();
  size_t kept = 0;
  for (size_t i = 0; i < t.copies.size(); ++i) {
    const Copy c = t.copies[i];
    if (c.group >= t.groups - groups_left) {  // of a later group, or of none yet
      t.copies[kept++] = c;
      continue;
    }
    if (c.source_bytes) std::memcpy(c.to, c.from, static_cast<size_t>(c.source_bytes));
    std::memset(static_cast<char*>(c.to) + c.source_bytes, 0, static_cast<size_t>(c.bytes - c.source_bytes));
  }
  t.copies.resize(kept);
}

}  // namespace emu
