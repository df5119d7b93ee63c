// The float32 table of pointwise loops for one instruction set.
#pragma once

#include "cpu/kernels/pointwise.h"
#include "cpu/kernels/vec.h"

namespace fastcnn::cpu::FC_ISA {
namespace {

// clang-format off: the second needs the first
#include "cpu/kernels/pointwise.inl"
#include "cpu/kernels/activation_mask.inl"
// clang-format on

void stream_floats(float* y, const float* x, int64_t n) {
  int64_t i = 0;
  for (; i < n && (uintptr_t)(y + i) % sizeof(Vec) != 0; ++i) y[i] = x[i];
  for (; i + kLanes <= n; i += kLanes) vstream(y + i, vload(x + i));
  for (; i < n; ++i) y[i] = x[i];
}
void stream_floats_done() { stream_done(); }

constexpr PointwiseKernels kPointwise = {unary_real<float, float>,
                                         binary_real<float, float>,
                                         pack_mask_of<float, float>,
                                         apply_mask_of<float, float>,
                                         stream_floats,
                                         stream_floats_done};

}  // namespace
}  // namespace fastcnn::cpu::FC_ISA
