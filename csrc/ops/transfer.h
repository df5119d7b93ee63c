// Copies between devices: the bytes as they lie, with conversions on the side that has them.
#pragma once

#include "ops/context.h"

namespace fastcnn::ops {

/// dst = src, which is on another device and has dst's shape (it may be expanded). At least one of them is on CUDA.
/// Memory of the card is taken only where `dst` there, or `src`, is not dense.
void copy_across(const Tensor& dst, const Tensor& src);

/// *p of this device, which waits until the number is there: for ops whose output size depends on values.
int64_t read_back(const int64_t* p, Device device);

}  // namespace fastcnn::ops
