// The shared memory of a worker, block by block, and cp.async to it, as late as the rules allow: the destination is NaN
// from the issue on, and the bytes come when the thread waits for their group. Without a wait they never come.
#include <cstring>

#include "emulator/core.h"
#include "emulator/sanitizers.h"

namespace emu {

void Shared::open(size_t dynamic_bytes, size_t limit) {
  asan::poison(arena_, kBytes);
  variables_.clear();
  top_ = used_ = 0;
  limit_ = limit;
  if (dynamic_bytes) variable(nullptr, dynamic_bytes, "dynamic shared memory", {nullptr, 0});
}

void* Shared::variable(const void* key, size_t bytes, const char* name, Site site) {
  for (const Allocation& a : variables_) {
    if (a.key == key) return a.base;
  }
  char* base = arena_ + top_;
  top_ += bytes + kZone + (kZone - bytes % kZone) % kZone;
  used_ += (bytes + 15) / 16 * 16;
  if (used_ > limit_ || top_ > kBytes) {
    this_worker()->fail(cudaErrorLaunchOutOfResources, site, "shared memory: ", name, " does not fit, got ",
                        used_, " bytes in all, expected at most ", limit_);
  }
  asan::unpoison(base, bytes);
  if (!tsan::kOn) fill(base, bytes);  // whom it would seem to race with the threads
  variables_.push_back({base, bytes, site, false, name, key});
  return base;
}

/// The bounds of every access through cuda/vec.cuh, in every build.
void check_access(const void* p, size_t bytes, Access kind, Site site, size_t alignment) {
  Worker* w = this_worker();
  if (!w) return;  // the host, by mistake or in a test: the sanitizer's matter
  const bool store = kind == Access::store, shared = w->shared.holds(p);
  const char* what = store ? "store" : "load";
  if (!alignment) alignment = bytes;
  if (const size_t past = reinterpret_cast<uintptr_t>(p) % alignment) {
    w->fail(cudaErrorMisalignedAddress, site, "misaligned ", what, " of ", bytes, " bytes, got an address ",
            past, " bytes past a multiple of ", alignment);
  }
  const auto* first = static_cast<const char*>(p);
  const Allocation* a = find(shared ? w->shared.variables() : *w->launch->memory, p, 128);
  if (!a || first + bytes > a->base + a->bytes) {
    w->fail(cudaErrorIllegalAddress, site, "out of bounds: ", shared ? "shared " : "global ", what, " of ",
            bytes, " bytes ",
            a ? text("at byte ", first - a->base, " of ", *a)
              : text("outside every ", shared ? "variable" : "allocation of the device"));
  }
  if (w->launch->counting) {
    const Thread& t = w->thread();
    const uint64_t address = shared ? w->shared.offset(p) : reinterpret_cast<uintptr_t>(p);
    t.warp->traffic.add({site.file, site.line, shared, store}, t.lane, address, static_cast<unsigned>(bytes));
  }
}

void* shared_variable(const void* key, size_t bytes, const char* name, Site site) {
  const tsan::Own own;
  return this_worker()->shared.variable(key, bytes, name, site);
}

void* dynamic_shared() { return this_worker()->shared.dynamic(); }

void copy_async(void* shared, const void* global, int bytes, int source_bytes, Site site) {
  Worker& w = *this_worker();
  Thread& t = w.thread();
  const tsan::Own own;
  if (!w.shared.holds(shared)) {
    w.fail(cudaErrorIllegalAddress, site, "cp.async: the destination is not in shared memory");
  }
  if (source_bytes < 0 || source_bytes > bytes) {
    w.fail(cudaErrorLaunchFailure, site, "cp.async: got ", source_bytes, " source bytes, expected 0 to ",
           bytes);
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
  auto c = t.copies.begin();
  for (; c != t.copies.end() && c->group < t.groups - groups_left; ++c) {
    if (c->source_bytes) std::memcpy(c->to, c->from, static_cast<size_t>(c->source_bytes));
    std::memset(static_cast<char*>(c->to) + c->source_bytes, 0,
                static_cast<size_t>(c->bytes - c->source_bytes));
  }
  t.copies.erase(t.copies.begin(), c);  // what is left is of later groups, or of none yet
}

}  // namespace emu
