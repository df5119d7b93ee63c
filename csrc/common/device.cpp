#include "common/device.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <fstream>
#include <memory>
#include <mutex>

#if defined(__unix__) || defined(__APPLE__)
#include <unistd.h>
#endif

#include "common/check.h"

namespace fastcnn {
namespace {

// Meta indices: 0 the CPU at hand, 1 the current GPU, then the table's rows.
constexpr int16_t kCpuTwin = 0, kGpuTwin = 1, kFirstCard = 2;
constexpr int kMaxCards = 1024;

KnownCard card(const char* key, const char* name, int sm, int sm_count, size_t shared_bytes,
               size_t total_bytes) {
  KnownCard c;
  c.key = key;
  c.props.name = name;
  c.props.backend = DeviceType::cuda;
  c.props.sm = sm;
  c.props.sm_count = sm_count;
  c.props.shared_bytes = shared_bytes;
  c.props.total_bytes = total_bytes;
  return c;
}

// Shared memory per block (opt-in) by compute capability: CUDA C++ Programming Guide, "Technical
// Specifications per Compute Capability": 64 KiB on 7.5, 163 on 8.0, 99 on 8.6, 8.9 and 12.0, 227 on 9.0.
constexpr size_t kShared75 = 64 << 10, kShared80 = 163 << 10, kShared86 = 99 << 10, kShared90 = 227 << 10;

std::vector<KnownCard> make_cards() {
  // total_bytes is cudaDeviceProp::totalGlobalMem as published outputs of deviceQuery and of
  // torch.cuda.get_device_properties show it, for the driver named; another driver may reserve some MiB more
  // or less. h200: torch prints it in whole MiB.
  return {
      card("h200", "NVIDIA H200", 90, 132, kShared90, size_t{143156} << 20),
      card("h100", "NVIDIA H100 80GB HBM3", 90, 132, kShared90, 85028896768),        // CUDA 12.8
      card("a100", "NVIDIA A100-SXM4-40GB", 80, 108, kShared80, 42298834944),        // CUDA 12.2
      card("a100-80gb", "NVIDIA A100-SXM4-80GB", 80, 108, kShared80, 85100068864),   // CUDA 12.5
      card("l4", "NVIDIA L4", 89, 58, kShared86, 23612293120),                       // CUDA 12.0
      card("t4", "Tesla T4", 75, 40, kShared75, 15655829504),                        // CUDA 12.2, ECC on
      card("rtx3060", "NVIDIA GeForce RTX 3060", 86, 28, kShared86, 12622168064),    // xMem, arXiv 2510.21048
      card("rtx4060", "NVIDIA GeForce RTX 4060", 89, 24, kShared86, 8318222336),     // the same
      card("rtx4090", "NVIDIA GeForce RTX 4090", 89, 128, kShared86, 25250627584),   // CUDA 13.0
      card("rtx5090", "NVIDIA GeForce RTX 5090", 120, 170, kShared86, 33680457728),  // CUDA 12.8
  };
}

// Twins that dry runs have to themselves: the twin they stand for, plus one; 0 while nobody uses them.
std::array<std::atomic<int16_t>, kMaxTwins - kFirstScratchTwin> scratch_bases;

bool is_scratch(Device d) { return d.is_meta() && d.index >= kFirstScratchTwin; }
Device base_of(Device d) {
  if (!is_scratch(d)) return d;
  const int16_t base = scratch_bases.at(static_cast<size_t>(d.index - kFirstScratchTwin)).load();
  return Device{DeviceType::meta, static_cast<int16_t>(base ? base - 1 : kCpuTwin)};
}

CudaDevices cuda_devices{};  // set once, at import

const DeviceProps& cuda_props(Device device) {
  const int number = device.is_meta() ? 0 : device.index;
  const int count = cuda_device_count();
  if (number < count) return cuda_devices.props(number);
  const std::string why = !cuda_devices.count ? "this fastcnn was built without CUDA"
                          : count             ? str("there are ", count, " CUDA devices, from cuda:0")
                                              : cuda_devices.why_none();
  fail<DeviceError>("device: '", to_string(device), "' cannot be used, ", why, ", got '", to_string(device),
                    "', expected 'cpu'", count ? ", a CUDA device" : "",
                    " or a twin such as 'meta' or 'meta:h200'");
}

// The properties in force, and all that ever were: readers keep references without a lock.
struct CpuProps {
  std::mutex mutex;
  std::vector<std::unique_ptr<DeviceProps>> all;
  std::atomic<const DeviceProps*> current{nullptr};
};
CpuProps& cpu_props() {
  static CpuProps* p = new CpuProps;  // never destroyed: tensors may outlive static destruction
  return *p;
}

bool same(const DeviceProps& a, const DeviceProps& b) {
  return a.name == b.name && a.isa == b.isa && a.threads == b.threads && a.l1_bytes == b.l1_bytes &&
         a.l2_bytes == b.l2_bytes && a.l3_bytes == b.l3_bytes && a.total_bytes == b.total_bytes;
}

size_t read_limit(const char* path) {
  std::ifstream file(path);
  unsigned long long bytes = 0;
  return file >> bytes ? static_cast<size_t>(bytes) : SIZE_MAX;  // absent, or the word "max"
}

}  // namespace

size_t system_memory_bytes() {
  static const size_t bytes = [] {
    size_t machine = SIZE_MAX;
#if defined(_SC_PHYS_PAGES)
    const long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    if (pages > 0 && page > 0) machine = static_cast<size_t>(pages) * static_cast<size_t>(page);
#endif
    return std::min({machine, read_limit("/sys/fs/cgroup/memory.max"),
                     read_limit("/sys/fs/cgroup/memory/memory.limit_in_bytes")});
  }();
  return bytes;
}

const std::vector<KnownCard>& known_cards() {
  static const auto* cards = new std::vector<KnownCard>(make_cards());
  return *cards;
}

Device parse_device(const std::string& text) {
  if (text == "cpu") return Device{DeviceType::cpu, 0};
  if (text == "cuda") return Device{DeviceType::cuda, 0};
  if (text == "meta" || text == "meta:cpu") return Device{DeviceType::meta, kCpuTwin};
  if (text == "meta:cuda") return Device{DeviceType::meta, kGpuTwin};
  const std::string number = text.rfind("cuda:", 0) == 0 ? text.substr(5) : "";
  if (!number.empty() && number.size() <= 4 && number.find_first_not_of("0123456789") == std::string::npos &&
      std::stoi(number) < kMaxCards)
    return Device{DeviceType::cuda, static_cast<int16_t>(std::stoi(number))};
  const size_t hash = text.rfind('#');
  if (hash != std::string::npos && text.size() - hash <= 3 && text.size() - hash >= 2 &&
      text.find_first_not_of("0123456789", hash + 1) == std::string::npos) {
    const int number = std::stoi(text.substr(hash + 1));
    const Device twin{DeviceType::meta, static_cast<int16_t>(kFirstScratchTwin + number)};
    if (twin.index < kMaxTwins && to_string(twin) == text) return twin;
  }
  const std::vector<KnownCard>& cards = known_cards();
  for (size_t i = 0; i < cards.size(); ++i)
    if (text == "meta:" + cards[i].key) return Device{DeviceType::meta, static_cast<int16_t>(kFirstCard + i)};
  std::string names;
  for (const KnownCard& c : cards) names += ", meta:" + c.key;
  fail<ValueError>("device: unknown device, got '", text,
                   "', expected cpu, cuda, cuda:<number>, meta, meta:cuda", names);
}

std::string to_string(Device device) {
  if (device.type == DeviceType::cpu) return "cpu";
  if (device.type == DeviceType::cuda) return str("cuda:", device.index);
  if (is_scratch(device)) return str(to_string(base_of(device)), "#", device.index - kFirstScratchTwin);
  if (device.index == kCpuTwin) return "meta";
  if (device.index == kGpuTwin) return "meta:cuda";
  return "meta:" + known_cards().at(static_cast<size_t>(device.index - kFirstCard)).key;
}

void set_scratch_base(Device twin, Device base) {
  FC_CHECK(is_scratch(twin) && twin.index < kMaxTwins && !is_scratch(base) &&
               (base.is_meta() || base.type == DeviceType::cpu),
           "device: no scratch twin, got ", to_string(twin), " for ", to_string(base),
           ", expected one for cpu or a twin");
  const int16_t index = base.is_meta() ? base.index : kCpuTwin;
  scratch_bases[static_cast<size_t>(twin.index - kFirstScratchTwin)].store(static_cast<int16_t>(index + 1));
}

const DeviceProps& device_props(Device asked) {
  const Device device = base_of(asked);
  if (device.type == DeviceType::cpu || (device.is_meta() && device.index == kCpuTwin)) {
    const DeviceProps* props = cpu_props().current.load(std::memory_order_acquire);
    if (!props) {  // nobody told us yet: a C++ test without ops/
      set_cpu_props(DeviceProps{});
      props = cpu_props().current.load(std::memory_order_acquire);
    }
    return *props;
  }
  if (device.type == DeviceType::cuda || device.index == kGpuTwin) return cuda_props(device);
  return known_cards().at(static_cast<size_t>(device.index - kFirstCard)).props;
}

void set_cuda_devices(const CudaDevices& devices) { cuda_devices = devices; }
int cuda_device_count() { return cuda_devices.count ? cuda_devices.count() : 0; }

void set_cpu_props(const DeviceProps& props) {
  DeviceProps full = props;
  full.backend = DeviceType::cpu;
  if (!full.total_bytes) full.total_bytes = system_memory_bytes();
  CpuProps& p = cpu_props();
  const std::lock_guard<std::mutex> lock(p.mutex);
  auto known = std::find_if(p.all.begin(), p.all.end(), [&](const auto& old) { return same(*old, full); });
  if (known == p.all.end()) known = p.all.insert(p.all.end(), std::make_unique<DeviceProps>(full));
  p.current.store(known->get(), std::memory_order_release);
}

}  // namespace fastcnn
