// The float32 loops of sparse maps along an axis for one instruction set.
#pragma once

#include "cpu/kernels/axis_map.h"

namespace fastcnn::cpu::FC_ISA {
namespace {

#include "cpu/kernels/axis_map.inl"

constexpr AxisMapKernels kAxisMap = {axis_map_row<float, float>};

}  // namespace
}  // namespace fastcnn::cpu::FC_ISA
