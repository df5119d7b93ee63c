// Settings of the process: threads and instruction set, and what is derived from them.
#pragma once

#include <string>
#include <vector>

#include "common/device.h"

namespace fastcnn::ops {

/// Once, at import: tells common/ and memory/ about the CPU and where to ask about GPUs. Opens no device, starts no
/// thread.
void initialize_runtime();
void set_num_threads(int n);
int num_threads();
void set_isa(const std::string& name);
std::string isa();  ///< the one in force
std::vector<std::string> available_isas();
/// FLOP/s that the threads reach together in registers, measured over about `seconds`.
double measure_flops(double seconds);
/// Waits until the device has done all that it was given; DeviceError with what went wrong meanwhile.
void synchronize(Device device);
/// True where CUDA kernels run on the CPU, for tests.
bool cuda_is_emulated();
/// See cpu/thread_pool.h: returns true to stop the running kernel.
void set_interrupt_check(bool (*check)());

}  // namespace fastcnn::ops
