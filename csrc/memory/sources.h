// The sources of memory (memory/allocator.h, Source). cuda.cpp joins them in a build with CUDA.
#pragma once

#include <memory>

#include "memory/allocator.h"

namespace fastcnn {

std::unique_ptr<Source> make_cpu_source();
std::unique_ptr<Source> make_meta_source();

}  // namespace fastcnn
