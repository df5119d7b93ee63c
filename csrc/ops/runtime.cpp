#include "ops/runtime.h"

#include "common/device.h"
#include "cpu/isa.h"
#include "cpu/peak.h"
#include "cpu/thread_pool.h"
#include "cuda/runtime.h"
#include "cuda/streams.h"
#include "memory/sources.h"
#include "ops/context.h"

namespace fastcnn::ops {

namespace {
void refresh_cpu_props() {
  const cpu::CpuFacts& facts = cpu::cpu_facts();
  DeviceProps props;
  props.name = facts.model;
  props.isa = cpu::isa_name();
  props.threads = cpu::num_threads();
  props.l1_bytes = size_t(facts.l1_bytes);
  props.l2_bytes = size_t(facts.l2_bytes);
  props.l3_bytes = size_t(facts.l3_bytes);
  set_cpu_props(props);
}
}  // namespace

#if defined(FC_WITH_CUDA)
void initialize_runtime() {
  refresh_cpu_props();
  set_cuda_devices({cuda::device_count, cuda::why_no_device, cuda::props_of});
  set_cuda_memory({cuda::take_memory, cuda::give_memory, cuda::exact_memory(), cuda::current_set,
                   cuda::wait_for, cuda::drop_after, cuda::drop_done, cuda::take_host_memory,
                   cuda::give_host_memory});
}
Context context_of(Device device) {
  return Context{device, device.type == DeviceType::cuda ? cuda::current_handle(device.index) : nullptr};
}
void use_device(Device device) { cuda::use_device(device.index); }
void synchronize(Device device) {
  device_props(device);  // throws: no such device
  if (device.type == DeviceType::cuda) cuda::synchronize(device.index);
}
bool cuda_is_emulated() { return cuda::is_emulated(); }
#else
void initialize_runtime() { refresh_cpu_props(); }
Context context_of(Device device) { return Context{device, nullptr}; }
void use_device(Device) {}
void synchronize(Device device) { device_props(device); }
bool cuda_is_emulated() { return false; }
#endif

int num_threads() { return cpu::num_threads(); }
void set_num_threads(int n) {
  cpu::set_num_threads(n);
  refresh_cpu_props();
}
std::string isa() { return cpu::isa_name(); }
std::vector<std::string> available_isas() { return cpu::available_isas(); }
double measure_flops(double seconds) { return cpu::measure_flops(seconds); }
void set_interrupt_check(bool (*check)()) { cpu::set_interrupt_check(check); }
void set_isa(const std::string& name) {
  cpu::set_isa(name);
  refresh_cpu_props();
}

}  // namespace fastcnn::ops
