// One allocator per device.
#include <array>
#include <atomic>

#include "common/check.h"
#include "memory/fork_mutex.h"
#include "memory/sources.h"

namespace fastcnn {
namespace {

constexpr int kMaxTwins = 64;

struct Registry {
  ForkMutex mutex;
  std::atomic<Allocator*> cpu{nullptr};
  std::array<std::atomic<Allocator*>, kMaxTwins> meta{};
};
Registry& registry() {
  static Registry* r = new Registry;
  return *r;
}

}  // namespace

Allocator& allocator_for(Device device) {
  Registry& r = registry();
  if (device.type == DeviceType::cuda) device_props(device);  // throws: built without CUDA
  FC_CHECK(!device.is_meta() || (device.index >= 0 && device.index < kMaxTwins),
           "memory: no such twin, got index ", device.index, ", expected 0 to ", kMaxTwins - 1);
  std::atomic<Allocator*>& slot = device.is_meta() ? r.meta[static_cast<size_t>(device.index)] : r.cpu;
  if (Allocator* made = slot.load(std::memory_order_acquire)) return *made;
  device_props(device);  // throws for a twin of a device that is not there
  auto fresh = std::make_unique<Allocator>(device, device.is_meta() ? make_meta_source() : make_cpu_source());
  const ForkLock lock(r.mutex);
  // Whoever came first wins; the other one is empty and goes.
  if (!slot.load(std::memory_order_relaxed)) slot.store(fresh.release(), std::memory_order_release);
  return *slot.load(std::memory_order_relaxed);
}

}  // namespace fastcnn
