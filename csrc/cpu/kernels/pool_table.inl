// The float32 loops of pooling for one instruction set.
#pragma once

#include "cpu/kernels/pool.h"
#include "cpu/kernels/vec.h"

namespace fastcnn::cpu::FC_ISA {
namespace {

#include "cpu/kernels/pool.inl"

struct PoolLowest {
  static float value() { return -__builtin_inff(); }
};
constexpr PoolKernels kPool = {pool_max_forward<float, float, uint8_t, PoolLowest>,
                               pool_max_forward<float, float, int32_t, PoolLowest>,
                               pool_max_backward<float, float, uint8_t>,
                               pool_max_backward<float, float, int32_t>,
                               pool_avg_forward<float, float>,
                               pool_avg_backward<float, float>};

}  // namespace
}  // namespace fastcnn::cpu::FC_ISA
