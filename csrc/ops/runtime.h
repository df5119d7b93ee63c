// Settings of the process: threads and instruction set, and what is derived from them.
#pragma once

#include <string>
#include <vector>

namespace fastcnn::ops {

/// Once, at import: tells common/device.h about the CPU. Opens no device, starts no thread.
void initialize_runtime();
void set_num_threads(int n);
int num_threads();
void set_isa(const std::string& name);
std::string isa();  ///< the one in force
std::vector<std::string> available_isas();
/// FLOP/s that the threads reach together in registers, measured over about `seconds`.
double measure_flops(double seconds);
/// See cpu/thread_pool.h: returns true to stop the running kernel.
void set_interrupt_check(bool (*check)());

}  // namespace fastcnn::ops
