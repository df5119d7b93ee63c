// The float32 table of pointwise loops for one instruction set.
#pragma once

#include "cpu/kernels/pointwise.h"

namespace fastcnn::cpu::FC_ISA {
namespace {

#include "cpu/kernels/pointwise.inl"

constexpr PointwiseKernels kPointwise = {unary_real<float, float>, binary_real<float, float>};

}  // namespace
}  // namespace fastcnn::cpu::FC_ISA
