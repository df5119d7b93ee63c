// Host memory in 2 MiB-aligned arenas. Huge pages matter: first-touch faults and TLB misses of 4 KiB pages
// cost more than many kernels do. Where the system has none, plain aligned memory.
#include <cstdlib>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "memory/sources.h"

namespace fastcnn {
namespace {

constexpr size_t kAlign = Allocator::kSegmentBytes;

#if defined(__linux__)
void* take(size_t bytes) {
  if (bytes > SIZE_MAX - kAlign) return nullptr;
  void* raw = mmap(nullptr, bytes + kAlign, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (raw == MAP_FAILED) return nullptr;
  // Cut the aligned part out of the mapping.
  const auto address = reinterpret_cast<uintptr_t>(raw);
  const size_t head = (kAlign - address % kAlign) % kAlign;
  char* data = static_cast<char*>(raw) + head;
  if (head) munmap(raw, head);
  if (kAlign - head) munmap(data + bytes, kAlign - head);
#ifdef MADV_HUGEPAGE
  madvise(data, bytes, MADV_HUGEPAGE);  // a hint: small pages are slower, not wrong
#endif
  return data;
}
void give_back(void* data, size_t bytes) { munmap(data, bytes); }
#else
void* take(size_t bytes) { return std::aligned_alloc(kAlign, bytes); }
void give_back(void* data, size_t) { std::free(data); }
#endif

class CpuSource final : public Source {
 public:
  void* reserve(size_t bytes) override {
    // Linux promises more memory than there is and kills the process that believes it.
    const size_t total = system_memory_bytes();
    if (bytes > total || taken_ > total - bytes) return nullptr;
    void* data = take(bytes);
    if (data) taken_ += bytes;
    return data;
  }
  void release(void* data, size_t bytes) override {
    give_back(data, bytes);
    taken_ -= bytes;
  }

 private:
  size_t taken_ = 0;  // the allocator calls under its lock
};

}  // namespace

std::unique_ptr<Source> make_cpu_source() { return std::make_unique<CpuSource>(); }

}  // namespace fastcnn
