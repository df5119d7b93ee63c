// The shared memory of a worker, block by block, and cp.async to it, as late as the rules allow: the destination is NaN
// from the issue on, and the bytes come when the thread waits for their group. Without a wait they never come.
#include <cstdint>
#include <cstring>

#include "emulator/core.h"
#include "emulator/sanitizers.h"

namespace emu {

constexpr unsigned char kCanary = 0xa5;

Shared::Shared() : memory_(new char[kBytes + 1024]) {
  arena_ = reinterpret_cast<char*>((reinterpret_cast<uintptr_t>(memory_.get()) + 1023) / 1024 * 1024);
}

void Shared::open(size_t dynamic_bytes, size_t limit) {
  asan::poison(arena_, kBytes);
  variables_.clear();
  top_ = used_ = 0;
  limit_ = limit;
  if (dynamic_bytes) variable(nullptr, dynamic_bytes, "dynamic shared memory", {nullptr, 0});
}

void* Shared::variable(const void* key, size_t bytes, const char* name, Site site) {
  for (const Variable& v : variables_) {
    if (v.key == key) return arena_ + v.offset;
  }
  char* at = arena_ + top_;
  const size_t zone = kZone + (kZone - bytes % kZone) % kZone;
  used_ += (bytes + 15) / 16 * 16;
  if (used_ > limit_ || top_ + bytes + zone > kBytes) return nullptr;
  asan::unpoison(at, bytes);
  if (!tsan::kOn) {  // whom it would seem to race with the threads
    std::memset(at, 0xff, bytes);
    if (!asan::kOn) std::memset(at + bytes, kCanary, zone);
  }
  variables_.push_back({key, name, site, top_, bytes});
  top_ += bytes + zone;
  return at;
}

std::string Shared::close() const {
  if (asan::kOn || tsan::kOn) return "";
  for (size_t i = 0; i < variables_.size(); ++i) {
    const Variable& v = variables_[i];
    const size_t end = i + 1 < variables_.size() ? variables_[i + 1].offset : top_;
    for (size_t k = v.offset + v.bytes; k < end; ++k) {
      if (static_cast<unsigned char>(arena_[k]) == kCanary) continue;
      return text("shared memory: something wrote ", k - v.offset - v.bytes, " bytes past the end of ",
                  v.name, ", which has ", v.bytes, " bytes", v.site.file ? text(" (", v.site, ")") : "");
    }
  }
  return "";
}

std::string Shared::complaint(const void* p, size_t bytes) const {
  const size_t at = offset(p);
  for (const Variable& v : variables_) {
    if (at >= v.offset && at + bytes <= v.offset + v.bytes) return "";
    if (at >= v.offset && at < v.offset + v.bytes + kZone) {
      return text("at byte ", at - v.offset, " of ", v.name, ", which has ", v.bytes, " bytes");
    }
  }
  return "outside every variable";
}

void* shared_variable(const void* key, size_t bytes, const char* name, Site site) {
  const tsan::Own own;
  Worker& w = *this_worker();
  void* p = w.shared.variable(key, bytes, name, site);
  if (!p) {
    w.fail(cudaErrorLaunchOutOfResources,
           text("shared memory: ", name, " does not fit, got ", w.shared.used(),
                " bytes in all, expected at most ", w.shared.limit()),
           site);
  }
  return p;
}

void* dynamic_shared() { return this_worker()->shared.dynamic(); }

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
