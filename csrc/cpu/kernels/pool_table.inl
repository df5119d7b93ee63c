// The float32 loops of pooling for one instruction set.
#pragma once

#include "cpu/kernels/pool.h"
#include "cpu/kernels/vec.h"

namespace fastcnn::cpu::FC_ISA {
namespace {

// clang-format off: the table's loops, then those with vectors
#include "cpu/kernels/pool.inl"
#include "cpu/kernels/pool_vec.inl"
// clang-format on

struct PoolLowest {
  static float value() { return -__builtin_inff(); }
};
constexpr PoolKernels kPool = {pool_max_forward_vec,    pool_max_forward<float, float, int32_t, PoolLowest>,
                               pool_backward_vec<true>, pool_max_backward<float, float, int32_t>,
                               pool_avg_forward_vec,    pool_backward_vec<false>};

}  // namespace
}  // namespace fastcnn::cpu::FC_ISA
