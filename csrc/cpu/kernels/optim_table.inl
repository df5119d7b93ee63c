// The float32 loops of the optimizers for one instruction set.
#pragma once

#include "cpu/kernels/optim.h"

namespace fastcnn::cpu::FC_ISA {
namespace {

#include "cpu/kernels/optim.inl"

constexpr OptimKernels kOptim = {optim_find<float, float>};

}  // namespace
}  // namespace fastcnn::cpu::FC_ISA
