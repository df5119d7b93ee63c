// The float32 rows of layer norm for one instruction set.
#pragma once

#include "cpu/kernels/row_norm.h"
#include "cpu/kernels/vec.h"

namespace fastcnn::cpu::FC_ISA {
namespace {

#include "cpu/kernels/row_norm_vec.inl"

}  // namespace
}  // namespace fastcnn::cpu::FC_ISA
