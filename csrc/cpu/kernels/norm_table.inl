// The float32 loops of the normalisations for one instruction set.
#pragma once

#include "cpu/kernels/norm.h"
#include "cpu/kernels/vec.h"

namespace fastcnn::cpu::FC_ISA {
namespace {

#include "cpu/kernels/norm.inl"

constexpr NormKernels kNorm = norm_kernels<float, float>();

}  // namespace
}  // namespace fastcnn::cpu::FC_ISA
