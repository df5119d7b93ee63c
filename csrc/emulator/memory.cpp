// Global memory: the registry, and cudaMalloc, cudaMemcpy and their like.
#include <algorithm>
#include <cstring>
#include <mutex>

#include "emulator/core.h"
#include "emulator/sanitizers.h"

namespace emu {
namespace {

constexpr size_t kZone = 256, kCanaries = 64;
constexpr char kCanary = '\xa5';

std::mutex mutex;
std::shared_ptr<const Allocations> current = std::make_shared<Allocations>();  // replaced, never changed

size_t end_zone(size_t bytes) { return kZone + (kZone - bytes % kZone) % kZone; }
bool before(const char* p, const Allocation& a) { return p < a.base; }

cudaError_t give(void** p, size_t bytes, bool host, Site site) {
  if (const cudaError_t s = sticky(); s != cudaSuccess) return s;
  *p = nullptr;
  if (bytes == 0) return cudaSuccess;
  cudaDeviceProp card;
  cudaGetDeviceProperties(&card, 0);
  void* raw = nullptr;
  const size_t total = card.totalGlobalMem;
  const bool fits = host || (bytes <= total && allocated_bytes() <= total - bytes);
  if (!fits || posix_memalign(&raw, kZone, kZone + bytes + end_zone(bytes))) {
    return refuse(cudaErrorMemoryAllocation,
                  text("out of memory: got a request for ", bytes, " bytes (", site, ")"));
  }
  char* base = static_cast<char*>(raw) + kZone;
  fill(base, bytes);
  asan::poison(raw, kZone);
  asan::poison(base + bytes, end_zone(bytes));
  if (!host) asan::poison(base, bytes);
  std::lock_guard<std::mutex> lock(mutex);
  auto next = std::make_shared<Allocations>(*current);
  next->insert(std::upper_bound(next->begin(), next->end(), base, before), {base, bytes, site, host});
  current = std::move(next);
  *p = base;
  return cudaSuccess;
}

cudaError_t take(void* p, const char* what) {
  drain_all();
  if (!p) return sticky();
  std::lock_guard<std::mutex> lock(mutex);
  auto next = std::make_shared<Allocations>(*current);
  const auto at = std::find_if(next->begin(), next->end(), [p](const Allocation& a) { return a.base == p; });
  if (at == next->end()) {
    return refuse(cudaErrorInvalidValue, text(what, ": not an address that was handed out"));
  }
  const Allocation gone = *at;
  next->erase(at);
  current = std::move(next);
  asan::unpoison(gone.base - kZone, kZone + gone.bytes + end_zone(gone.bytes));
  if (!asan::kOn && !tsan::kOn) std::memset(gone.base, 0xff, gone.bytes);  // who still reads it gets NaN
  std::free(gone.base - kZone);
  return sticky();
}

/// What is wrong with [p, p + bytes) as the device's or the host's side of a copy; "" if nothing. `pinned` is set
/// for memory that an asynchronous copy may use later on.
std::string wrong(const void* p, size_t bytes, bool device, bool any, bool* pinned) {
  const auto all = allocations();
  const Allocation* a = find(*all, p);
  *pinned = a != nullptr;
  if (!a && device) return "a host address where the device's is expected";
  if (a && !a->host && !device && !any) return "a device address where the host's is expected";
  if (a && static_cast<const char*>(p) + bytes > a->base + a->bytes) {
    return text(bytes, " bytes from byte ", static_cast<const char*>(p) - a->base, " of ", *a);
  }
  return "";
}

cudaError_t copy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream,
                 bool wait) {
  if (bytes == 0) return sticky();
  const bool any = kind == cudaMemcpyDefault;
  bool to_pinned = false, from_pinned = false;
  const bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
  const bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
  std::string complaint = wrong(to, bytes, to_device, any, &to_pinned);
  if (complaint.empty()) complaint = wrong(from, bytes, from_device, any, &from_pinned);
  if (!complaint.empty()) return refuse(cudaErrorInvalidValue, "cudaMemcpy: " + complaint);
  std::shared_ptr<char[]> staged;
  if (!from_pinned) {  // pageable memory is read before the call returns
    staged.reset(new char[bytes]);
    std::memcpy(staged.get(), from, bytes);
  }
  const cudaError_t e = submit(stream, [=] {
    DeviceWork open;
    std::memmove(to, staged ? staged.get() : from, bytes);
  });
  return wait || !to_pinned ? (e == cudaSuccess ? drain(stream) : e) : e;
}

}  // namespace

void fill(char* base, size_t bytes) {
  std::memset(base, 0xff, bytes);
  if (asan::kOn) return;  // its red zones are better
  std::memset(base - kCanaries, kCanary, kCanaries);
  std::memset(base + bytes, kCanary, kCanaries);
}

std::shared_ptr<const Allocations> allocations() {
  std::lock_guard<std::mutex> lock(mutex);
  return current;
}

uint64_t allocated_bytes() {
  uint64_t sum = 0;
  for (const Allocation& a : *allocations()) sum += a.host ? 0 : a.bytes;
  return sum;
}

const Allocation* find(const Allocations& all, const void* p, size_t slack) {
  auto at = std::upper_bound(all.begin(), all.end(), static_cast<const char*>(p), before);
  if (at == all.begin()) return nullptr;
  --at;
  return p < at->base + at->bytes + slack ? &*at : nullptr;
}

std::ostream& operator<<(std::ostream& out, const Allocation& a) {
  out << (a.name ? a.name : "an allocation of ") << (a.name ? ", which has " : "") << a.bytes << " bytes";
  return a.site.file ? out << " (" << a.site << ")" : out;
}

std::string broken_red_zone(const Allocations& all) {
  for (const Allocation& a : all) {
    for (size_t i = 0; i < kCanaries && !asan::kOn && !tsan::kOn; ++i) {
      const bool early = *(a.base - 1 - i) != kCanary;
      if (!early && a.base[a.bytes + i] == kCanary) continue;
      return text("red zone: something wrote ", early ? i + 1 : i, " bytes ",
                  early ? "before the beginning of " : "past the end of ", a);
    }
  }
  return "";
}

DeviceWork::DeviceWork() {
  for (const Allocation& a : *allocations()) asan::unpoison(a.base, a.bytes);
}
DeviceWork::~DeviceWork() {
  for (const Allocation& a : *allocations()) {
    if (!a.host) asan::poison(a.base, a.bytes);
  }
}

}  // namespace emu

cudaError_t cudaMalloc(void** p, size_t bytes, emu::Site site) { return emu::give(p, bytes, false, site); }
cudaError_t cudaMallocHost(void** p, size_t bytes, emu::Site site) { return emu::give(p, bytes, true, site); }
cudaError_t cudaFree(void* p) { return emu::take(p, "cudaFree"); }
cudaError_t cudaFreeHost(void* p) { return emu::take(p, "cudaFreeHost"); }
cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  return emu::copy(to, from, bytes, kind, nullptr, true);
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  return emu::copy(to, from, bytes, kind, stream, false);
}
cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* p) {
  const auto all = emu::allocations();
  const emu::Allocation* a = emu::find(*all, p);
  *attributes = {};
  if (a) attributes->type = a->host ? cudaMemoryTypeHost : cudaMemoryTypeDevice;
  return cudaSuccess;
}
