// Copies between devices: the bytes as they lie, with conversions on the side that has them.
#pragma once

#include "ops/context.h"

namespace fastcnn::ops {

/// dst = src, which is on another device and has dst's shape (it may be expanded). At least one of them is on CUDA.
/// Memory of the card is taken only where `dst` there, or `src`, is not dense. `non_blocking`: the host goes on while
/// bytes come from or go to page-locked memory, which is kept until they are across.
void copy_across(const Tensor& dst, const Tensor& src, bool non_blocking);

/// A copy of `x`, which is on the CPU, in page-locked memory and the same memory order.
Tensor pin_memory(const Tensor& x);
/// False for tensors without elements and on machines without a card.
bool is_pinned(const Tensor& x);

/// *p of this device, which waits until the number is there: for ops whose output size depends on values.
int64_t read_back(const int64_t* p, Device device);

}  // namespace fastcnn::ops
