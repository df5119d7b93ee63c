// The float32 rows of softmax for one instruction set.
#pragma once

#include "cpu/kernels/softmax.h"
#include "cpu/kernels/vec.h"

namespace fastcnn::cpu::FC_ISA {
namespace {

#include "cpu/kernels/softmax.inl"

constexpr SoftmaxKernels kSoftmax = softmax_kernels<float, float>();

}  // namespace
}  // namespace fastcnn::cpu::FC_ISA
