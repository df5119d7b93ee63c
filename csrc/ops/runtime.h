// Settings of the process: threads and instruction set, and what is derived from them.
#pragma once

#include <string>

namespace fastcnn::ops {

/// Once, at import: tells common/device.h about the CPU. Opens no device, starts no thread.
void initialize_runtime();
void set_num_threads(int n);
int num_threads();
void set_isa(const std::string& name);

}  // namespace fastcnn::ops
