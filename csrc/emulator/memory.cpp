#include "emulator/memory.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
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
uint64_t device_bytes = 0;

size_t end_zone(size_t bytes) { return kZone + (kZone - bytes % kZone) % kZone; }
bool before(const char* p, const Allocation& a) { return p < a.base; }

}  // namespace

void fill(char* base, size_t bytes) {
  std::memset(base, 0xff, bytes);
  if (asan::kOn) return;  // its red zones are better
  std::memset(base - kCanaries, kCanary, kCanaries);
  std::memset(base + bytes, kCanary, kCanaries);
}

void* allocate(size_t bytes, bool host, Site site) {
  cudaDeviceProp card;
  cudaGetDeviceProperties(&card, 0);
  std::lock_guard<std::mutex> lock(mutex);
  if (!host && (bytes > card.totalGlobalMem || device_bytes > card.totalGlobalMem - bytes)) return nullptr;
  void* raw = nullptr;
  if (posix_memalign(&raw, kZone, kZone + bytes + end_zone(bytes))) return nullptr;
  char* base = static_cast<char*>(raw) + kZone;
  fill(base, bytes);
  asan::poison(raw, kZone);
  asan::poison(base + bytes, end_zone(bytes));
  if (!host) {
    asan::poison(base, bytes);
    device_bytes += bytes;
  }
  auto next = std::make_shared<Allocations>(*current);
  next->insert(std::upper_bound(next->begin(), next->end(), base, before), {base, bytes, site, host});
  current = std::move(next);
  return base;
}

bool release(void* p) {
  std::lock_guard<std::mutex> lock(mutex);
  auto next = std::make_shared<Allocations>(*current);
  const auto at = std::find_if(next->begin(), next->end(), [p](const Allocation& a) { return a.base == p; });
  if (at == next->end()) return false;
  const Allocation gone = *at;
  next->erase(at);
  current = std::move(next);
  if (!gone.host) device_bytes -= gone.bytes;
  asan::unpoison(gone.base - kZone, kZone + gone.bytes + end_zone(gone.bytes));
  if (!asan::kOn && !tsan::kOn) std::memset(gone.base, 0xff, gone.bytes);  // who still reads it gets NaN
  std::free(gone.base - kZone);
  return true;
}

std::shared_ptr<const Allocations> allocations() {
  std::lock_guard<std::mutex> lock(mutex);
  return current;
}

uint64_t allocated_bytes() {
  std::lock_guard<std::mutex> lock(mutex);
  return device_bytes;
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
  const Allocation* a = find(shared ? w->shared.variables() : *w->launch->memory, p, 2 * kCanaries);
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

}  // namespace emu
