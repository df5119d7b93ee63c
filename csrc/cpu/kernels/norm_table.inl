// The float32 loops of the normalisations for one instruction set.
#pragma once

#include "cpu/kernels/norm.h"

namespace fastcnn::cpu::FC_ISA {
namespace {

#include "cpu/kernels/norm.inl"

constexpr NormKernels kNorm = {norm_moments<float, float>, norm_gradient_sums<float, float>,
                               norm_apply<float, float>, norm_apply_gradient<float, float>};

}  // namespace
}  // namespace fastcnn::cpu::FC_ISA
