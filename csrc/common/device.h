// Devices and what is known of them. A meta device is the twin of a real one: it has the twin's properties
// and runs the same plans, but allocates addresses only and launches nothing (see memory/meta.cpp).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace fastcnn {

enum class DeviceType : uint8_t { cpu, cuda, meta };

struct Device {
  DeviceType type = DeviceType::cpu;
  /// cuda: the card's number. meta: index into the twins table (0 = twin of the CPU at hand; from
  /// kFirstScratchTwin on, twins lent to one dry run each).
  int16_t index = 0;
  bool operator==(const Device& o) const { return type == o.type && index == o.index; }
  bool operator!=(const Device& o) const { return !(*this == o); }
  bool is_meta() const { return type == DeviceType::meta; }
};

/// Room for twins of any kind; each has an allocator of its own.
constexpr int16_t kMaxTwins = 64;
/// "meta#1" or "meta:h200#1": the twin of a device for one dry run, whose memory is empty at its start
/// (acquire_twin in memory/registry.cpp).
constexpr int16_t kFirstScratchTwin = 32;

/// Facts that plans may depend on (cpuid facts and settings, never measurements).
struct DeviceProps {
  std::string name;
  DeviceType backend = DeviceType::cpu;  ///< whose algorithm table applies
  // CPU
  std::string isa;  ///< "baseline", "avx2", "avx512", "neon"
  int threads = 1;
  size_t l1_bytes = 32 << 10, l2_bytes = 1 << 20, l3_bytes = 16 << 20;
  // CUDA
  int sm = 0;  ///< compute capability, 80 for 8.0
  int sm_count = 0;
  size_t shared_bytes = 0;  ///< per block, opt-in
  size_t total_bytes = 0;
};

/// "cpu", "cuda", "cuda:1", "meta", "meta:cuda", "meta:h200" -> Device; anything else is a ValueError
/// that lists what is available.
Device parse_device(const std::string& text);
std::string to_string(Device device);
/// Current properties; a twin's are those of its device. Cheap: no allocation.
const DeviceProps& device_props(Device device);

/// Makes a scratch twin stand for `base` ("cpu" or a twin that is not scratch itself).
void set_scratch_base(Device twin, Device base);

/// Called by ops/ at import and whenever threads or ISA change (common/ cannot ask the CPU room). Its
/// total_bytes is filled in where it is 0. References handed out before stay valid, with the old values.
void set_cpu_props(const DeviceProps& props);
/// Memory this process may use: the machine's, or its control group's limit if that is smaller.
size_t system_memory_bytes();

/// What is known of GPUs: handed over by ops/ at import in a build with CUDA (common/ cannot ask the CUDA room). Nothing
/// is asked before somebody names a GPU, so that the import opens no driver.
struct CudaDevices {
  int (*count)();                    ///< 0 without a driver or a card
  std::string (*why_none)();         ///< a clause: why there is none, or that the number is too large
  const DeviceProps& (*props)(int);  ///< of card 0 .. count() - 1; lives as long as the process
};
void set_cuda_devices(const CudaDevices& devices);
/// 0 in a build without CUDA too.
int cuda_device_count();

/// A card that has a twin "meta:<key>".
struct KnownCard {
  std::string key;  ///< "h200"
  DeviceProps props;
};
const std::vector<KnownCard>& known_cards();

}  // namespace fastcnn
