// Sums of all that is in front of a thread, of a block's threads or of a line's chunks, in an order that depends on
// nothing but their numbers: what running sums and the packing of chosen elements are made of.
#pragma once

#include "cuda/device.cuh"
#include "cuda/vec.cuh"

namespace fastcnn::cuda {

/// The sum of the values of the threads in front of this one; `total` is that of all. All threads call it; kThreads is a
/// multiple of 32. The barrier before a second call is inside.
template <int kThreads, class T>
FC_DEVICE T block_exclusive_sum(T value, T& total) {
  static_assert(kThreads % 32 == 0 && kThreads <= 1024, "whole warps");
  constexpr int kWarps = kThreads / 32;
  const int lane = static_cast<int>(threadIdx.x % 32), warp = static_cast<int>(threadIdx.x / 32);
  T sum = value;
  FC_UNROLL
  for (unsigned step = 1; step < 32; step *= 2) {
    const T before = __shfl_up_sync(kFullMask, sum, step);
    if (lane >= static_cast<int>(step)) sum += before;
  }
  T exclusive = __shfl_up_sync(kFullMask, sum, 1u);
  if (lane == 0) exclusive = T(0);
  FC_SHARED(T, of_warp, [kWarps]);
  __syncthreads();  // readers of an earlier call
  if (lane == 31) of_warp[warp] = sum;
  __syncthreads();
  T front = T(0);
  total = T(0);
  FC_UNROLL
  for (int w = 0; w < kWarps; ++w) {
    if (w == warp) front = total;
    total += of_warp[w];
  }
  return front + exclusive;
}

/// A block for each line of chunk_count + 1 numbers: each of the first becomes the sum of those in front of it, the
/// last the sum of all.
template <int kThreads, class T>
FC_KERNEL exclusive_sums_kernel(T* lines, int64_t chunk_count) {
  T* line = lines + blockIdx.x * (chunk_count + 1);
  T carry = T(0);
  for (int64_t first = 0; first < chunk_count; first += kThreads) {
    const int64_t i = first + threadIdx.x;
    T total;
    const T front = block_exclusive_sum<kThreads>(i < chunk_count ? load(line + i) : T(0), total);
    if (i < chunk_count) store(line + i, carry + front);
    carry += total;
  }
  if (threadIdx.x == 0) store(line + chunk_count, carry);
}

}  // namespace fastcnn::cuda
