// Host memory in 2 MiB-aligned arenas. Each lies at the start of a range of addresses as large as the machine's memory, so
// that it can grow; addresses without memory cost nothing. Where so many are not to be had (ulimit -v), arenas have the
// size that they were made with. Huge pages matter: first-touch faults and TLB misses of 4 KiB pages
// cost more than many kernels do. Where the system has none, plain aligned memory.
#include <cstdlib>
#include <map>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "memory/sources.h"

namespace fastcnn {
namespace {

constexpr size_t kAlign = Allocator::kSegmentBytes;

#if defined(__linux__)
constexpr bool kGrows = true;

/// Aligned addresses without memory behind them; nullptr if there are not so many.
char* take_range(size_t bytes) {
  if (bytes > SIZE_MAX - kAlign) return nullptr;
  void* raw = mmap(nullptr, bytes + kAlign, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (raw == MAP_FAILED) return nullptr;
  // Cut the aligned part out of the mapping.
  const auto address = reinterpret_cast<uintptr_t>(raw);
  const size_t head = (kAlign - address % kAlign) % kAlign;
  char* data = static_cast<char*>(raw) + head;
  if (head) munmap(raw, head);
  if (kAlign - head) munmap(data + bytes, kAlign - head);
  return data;
}
void give_range(void* data, size_t bytes) { munmap(data, bytes); }

bool fill_range(char* data, size_t bytes) {
  if (mprotect(data, bytes, PROT_READ | PROT_WRITE) != 0) return false;
#ifdef MADV_HUGEPAGE
  madvise(data, bytes, MADV_HUGEPAGE);  // a hint: small pages are slower, not wrong
#endif
  return true;
}
void empty_range(char* data, size_t bytes) {
  madvise(data, bytes, MADV_DONTNEED);
  mprotect(data, bytes, PROT_NONE);
}
#else
constexpr bool kGrows = false;
char* take_range(size_t bytes) { return static_cast<char*>(std::aligned_alloc(kAlign, bytes)); }
void give_range(void* data, size_t) { std::free(data); }
bool fill_range(char*, size_t) { return true; }
void empty_range(char*, size_t) {}
#endif

class CpuSource final : public Source {
 public:
  void* reserve(size_t bytes) override {
    // Linux promises more memory than there is and kills the process that believes it.
    const size_t total = system_memory_bytes();
    if (bytes > total || taken_ > total - bytes) return nullptr;
    size_t range = kGrows ? (total + kAlign - 1) / kAlign * kAlign : bytes;
    char* data = take_range(range);
    if (!data && kGrows) data = take_range(range = bytes);
    if (!data) return nullptr;
    if (!fill_range(data, bytes)) return give_range(data, range), nullptr;
    ranges_[data] = range;
    taken_ += bytes;
    return data;
  }
  void release(void* data, size_t bytes) override {
    const auto range = ranges_.find(data);
    give_range(data, range->second);
    ranges_.erase(range);
    taken_ -= bytes;
  }
  bool growable() const override { return kGrows; }
  bool extend(void* data, size_t bytes, size_t more) override {
    const size_t total = system_memory_bytes();
    if (more > total || taken_ > total - more || bytes + more > ranges_[data]) return false;
    if (!fill_range(static_cast<char*>(data) + bytes, more)) return false;
    taken_ += more;
    return true;
  }
  void shrink(void* data, size_t bytes, size_t less) noexcept override {
    empty_range(static_cast<char*>(data) + bytes - less, less);
    taken_ -= less;
  }

 private:
  // The allocator calls under its lock.
  std::map<void*, size_t> ranges_;  // how many addresses there are from the start of each segment
  size_t taken_ = 0;
};

}  // namespace

std::unique_ptr<Source> make_cpu_source() { return std::make_unique<CpuSource>(); }
bool cpu_source_grows() { return kGrows; }

}  // namespace fastcnn
