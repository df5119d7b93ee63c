// The float32 loops of dropout for one instruction set.
#pragma once

#include "common/philox.h"
#include "cpu/kernels/dropout.h"

namespace fastcnn::cpu::FC_ISA {
namespace {

#include "cpu/kernels/dropout.inl"

constexpr DropoutKernels kDropout = {keep_bits, dropout_run<float, float>, dropout_tile<float, float>};

}  // namespace
}  // namespace fastcnn::cpu::FC_ISA
