// Reductions within a warp and a block, in an order that depends on nothing but the number of threads.
#pragma once

#include "cuda/device.cuh"

namespace fastcnn::cuda {

struct Sum {
  template <class T>
  FC_DEVICE T of(T a, T b) {
    return a + b;
  }
  template <class T>
  FC_DEVICE T identity() {
    return T(0);
  }
};

struct Max {  // NaN wins
  template <class T>
  FC_DEVICE T of(T a, T b) {
    return a > b || a != a ? a : b;
  }
};

/// The warp's reduction, in every lane. All 32 lanes call it.
template <class Op, class T>
FC_DEVICE T warp_reduce(T value) {
  FC_UNROLL
  for (int step = 16; step > 0; step /= 2) value = Op::of(value, __shfl_xor_sync(kFullMask, value, step));
  return value;
}

/// The block's reduction, in every thread of warp 0. All threads call it; kThreads is a multiple of 32. The barrier
/// before a second call is inside.
template <class Op, int kThreads, class T>
FC_DEVICE T block_reduce(T value) {
  static_assert(kThreads % 32 == 0 && kThreads <= 1024, "whole warps");
  constexpr int kWarps = kThreads / 32;
  value = warp_reduce<Op>(value);
  if constexpr (kWarps > 1) {
    FC_SHARED(T, partial, [kWarps]);
    const int lane = static_cast<int>(threadIdx.x % 32), warp = static_cast<int>(threadIdx.x / 32);
    __syncthreads();  // readers of an earlier call
    if (lane == 0) partial[warp] = value;
    __syncthreads();
    if (warp == 0) {
      value = lane < kWarps ? partial[lane] : Op::template identity<T>();
      value = warp_reduce<Op>(value);
    }
  }
  return value;
}

}  // namespace fastcnn::cuda
