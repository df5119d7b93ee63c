// One allocator per device.
#include <array>
#include <atomic>

#include "common/check.h"
#include "memory/fork_mutex.h"
#include "memory/sources.h"

namespace fastcnn {
namespace {

constexpr int kMaxCudaDevices = 64;

struct Registry {
  ForkMutex mutex;
  std::atomic<Allocator*> cpu{nullptr};
  std::array<std::atomic<Allocator*>, kMaxCudaDevices> cuda{};
  std::array<std::atomic<Allocator*>, kMaxTwins> meta{};
  std::array<std::atomic<bool>, kMaxTwins - kFirstScratchTwin> lent{};
};
Registry& registry() {
  static Registry* r = new Registry;
  return *r;
}

}  // namespace

Allocator& allocator_for(Device device) {
  Registry& r = registry();
  FC_CHECK(!device.is_meta() || (device.index >= 0 && device.index < kMaxTwins),
           "memory: no such twin, got index ", device.index, ", expected 0 to ", kMaxTwins - 1);
  const bool cuda = device.type == DeviceType::cuda;
  if (cuda && device.index >= kMaxCudaDevices) device_props(device);  // throws: no such device
  std::atomic<Allocator*>& slot = device.is_meta() ? r.meta[static_cast<size_t>(device.index)]
                                  : cuda           ? r.cuda[static_cast<size_t>(device.index)]
                                                   : r.cpu;
  if (Allocator* made = slot.load(std::memory_order_acquire)) return *made;
  const DeviceProps& props = device_props(device);  // throws for a device that is not there, and for its twin
  const bool twin_grows = props.backend == DeviceType::cpu && cpu_source_grows();
  auto fresh = std::make_unique<Allocator>(device, device.is_meta() ? make_meta_source(twin_grows)
                                                   : cuda           ? make_cuda_source(device.index)
                                                                    : make_cpu_source());
  const ForkLock lock(r.mutex);
  // Whoever came first wins; the other one is empty and goes.
  if (!slot.load(std::memory_order_relaxed)) slot.store(fresh.release(), std::memory_order_release);
  return *slot.load(std::memory_order_relaxed);
}

Device acquire_twin(Device base) {
  if (base.type == DeviceType::cuda) base = parse_device("meta:cuda");
  device_props(base);  // throws: no such device
  Registry& r = registry();
  for (size_t i = 0; i < r.lent.size(); ++i) {
    bool free = false;
    if (!r.lent[i].compare_exchange_strong(free, true)) continue;
    const Device twin{DeviceType::meta, static_cast<int16_t>(kFirstScratchTwin + static_cast<int>(i))};
    set_scratch_base(twin, base);
    Allocator& allocator = allocator_for(twin);
    if (allocator.stats().allocated_bytes == 0) {  // else tensors of an earlier run still live there
      allocator.empty_cache();
      allocator.reset_peak();
      return twin;
    }
    r.lent[i].store(false);
  }
  fail<ValueError>("memory: got more than ", r.lent.size(), " dry runs at once, expected at most ",
                   r.lent.size(), " (tensors kept from a dry run hold its twin; let go of them)");
}

void release_twin(Device twin) {
  FC_CHECK(twin.is_meta() && twin.index >= kFirstScratchTwin && twin.index < kMaxTwins,
           "memory: not a twin of a dry run, got ", to_string(twin), ", expected one of acquire_twin");
  Allocator& allocator = allocator_for(twin);
  allocator.stop_trace();
  allocator.set_limit(SIZE_MAX);
  allocator.empty_cache();
  registry().lent[static_cast<size_t>(twin.index - kFirstScratchTwin)].store(false);
}

}  // namespace fastcnn
