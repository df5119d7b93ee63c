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
constexpr unsigned char kCanary = 0xa5;

std::mutex mutex;
std::shared_ptr<const Allocations> current = std::make_shared<Allocations>();  // replaced, never changed
uint64_t device_bytes = 0;
std::recursive_mutex work;
int working = 0;

size_t end_zone(size_t bytes) { return kZone + (kZone - bytes % kZone) % kZone; }

}  // namespace

void* allocate(size_t bytes, bool host, Site site) {
  cudaDeviceProp card;
  cudaGetDeviceProperties(&card, 0);
  std::lock_guard<std::mutex> lock(mutex);
  if (!host && (bytes > card.totalGlobalMem || device_bytes > card.totalGlobalMem - bytes)) return nullptr;
  void* raw = nullptr;
  if (posix_memalign(&raw, kZone, kZone + bytes + end_zone(bytes))) return nullptr;
  char* base = static_cast<char*>(raw) + kZone;
  std::memset(base, 0xff, bytes);
  std::memset(base - kCanaries, kCanary, kCanaries);
  std::memset(base + bytes, kCanary, kCanaries);
  asan::poison(raw, kZone);
  asan::poison(base + bytes, end_zone(bytes));
  if (!host) {
    asan::poison(base, bytes);
    device_bytes += bytes;
  }
  auto next = std::make_shared<Allocations>(*current);
  const auto at = std::upper_bound(next->begin(), next->end(), base,
                                   [](const char* p, const Allocation& a) { return p < a.base; });
  next->insert(at, {base, bytes, site, host});
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
  auto at = std::upper_bound(all.begin(), all.end(), static_cast<const char*>(p),
                             [](const char* q, const Allocation& a) { return q < a.base; });
  if (at == all.begin()) return nullptr;
  --at;
  return p < at->base + at->bytes + slack ? &*at : nullptr;
}

std::string broken_red_zone() {
  if (asan::kOn || tsan::kOn) return "";
  for (const Allocation& a : *allocations()) {
    for (size_t i = 0; i < kCanaries; ++i) {
      const bool before = static_cast<unsigned char>(a.base[-1 - static_cast<std::ptrdiff_t>(i)]) != kCanary;
      if (!before && static_cast<unsigned char>(a.base[a.bytes + i]) == kCanary) continue;
      return text("global memory: something wrote ", before ? i + 1 : i, " bytes ",
                  before ? "before the beginning" : "past the end", " of an allocation of ", a.bytes,
                  " bytes (", a.site, ")");
    }
  }
  return "";
}

DeviceWork::DeviceWork() {
  work.lock();
  if (working++ || !asan::kOn) return;
  for (const Allocation& a : *allocations()) asan::unpoison(a.base, a.bytes);
}

DeviceWork::~DeviceWork() {
  if (--working == 0 && asan::kOn) {
    for (const Allocation& a : *allocations()) {
      if (!a.host) asan::poison(a.base, a.bytes);
    }
  }
  work.unlock();
}

/// The bounds of every access through cuda/vec.cuh, in every build.
void check_access(const void* p, size_t bytes, Access kind, Site site, size_t alignment) {
  Worker* w = this_worker();
  if (!w) return;  // the host, by mistake or in a test: the sanitizer's matter
  const bool store = kind == Access::store, shared = w->shared.holds(p);
  const char* what = store ? "store" : "load";
  if (!alignment) alignment = bytes;
  if (const size_t past = reinterpret_cast<uintptr_t>(p) % alignment) {
    w->fail(cudaErrorMisalignedAddress,
            text("misaligned ", what, " of ", bytes, " bytes, got an address ", past,
                 " bytes past a multiple of ", alignment),
            site);
  }
  std::string complaint;
  if (shared) {
    complaint = w->shared.complaint(p, bytes);
  } else if (const Allocation* a = find(*w->launch->memory, p, kZone); !a) {
    complaint = "outside every allocation of the device";
  } else if (static_cast<const char*>(p) + bytes > a->base + a->bytes) {
    complaint = text("at byte ", static_cast<const char*>(p) - a->base, " of an allocation of ", a->bytes,
                     " bytes (", a->site, ")");
  }
  if (!complaint.empty()) {
    w->fail(
        cudaErrorIllegalAddress,
        text("out of bounds: ", shared ? "shared " : "global ", what, " of ", bytes, " bytes ", complaint),
        site);
  }
  if (w->launch->counting) {
    const Thread& t = w->thread();
    const uint64_t address = shared ? w->shared.offset(p) : reinterpret_cast<uintptr_t>(p);
    w->traffic_of(t).add(site, shared, store, t.lane, address, static_cast<unsigned>(bytes));
  }
}

}  // namespace emu
