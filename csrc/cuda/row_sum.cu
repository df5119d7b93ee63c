#include "cuda/dispatch.cuh"
#include "cuda/launch.cuh"
#include "cuda/reduce.cuh"
#include "cuda/row_sum.h"
#include "cuda/vec.cuh"

namespace fastcnn::cuda {
namespace {

constexpr int kThreads = 256;

/// A block for each row. Thread t adds elements of lane group t, t + kThreads, ..., one sum for each place in the
/// group; the same groups whether they are loaded at once or one by one, so that alignment changes no bit.
template <class T, bool kAligned>
FC_KERNEL row_sum_kernel(const T* x, T* y, int64_t columns) {
  constexpr int kCount = kLanes<T>;
  const T* row = x + static_cast<int64_t>(blockIdx.x) * columns;
  Wide<T> sums[kCount] = {};
  for (int64_t first = int64_t{kCount} * threadIdx.x; first < columns; first += kCount * kThreads) {
    if (kAligned && first + kCount <= columns) {
      const auto v = load(reinterpret_cast<const Vec<T, kCount>*>(row + first));
      FC_UNROLL
      for (int i = 0; i < kCount; ++i) sums[i] += widen(v.at[i]);
    } else {
      FC_UNROLL
      for (int i = 0; i < kCount; ++i) {
        if (first + i < columns) sums[i] += widen(load(row + first + i));
      }
    }
  }
  FC_UNROLL
  for (int width = kCount / 2; width > 0; width /= 2) {
    FC_UNROLL
    for (int i = 0; i < width; ++i) sums[i] += sums[i + width];
  }
  const Wide<T> sum = block_reduce<Sum, kThreads>(sums[0]);
  if (threadIdx.x == 0) store(y + blockIdx.x, Narrow<T>::of(sum));
}

}  // namespace

void row_sum(const RowSumArgs& a, void* stream) {
  dispatch_device_float(a.dtype, "row_sum", [&](auto type) {
    using T = typename decltype(type)::type;
    const bool aligned = is_aligned(a.x, 16) && a.columns % kLanes<T> == 0;
    launch("row_sum", aligned ? row_sum_kernel<T, true> : row_sum_kernel<T, false>,
           {dim3(static_cast<unsigned>(a.rows)), dim3(kThreads), static_cast<cudaStream_t>(stream)},
           static_cast<const T*>(a.x), static_cast<T*>(a.y), a.columns);
  });
}

}  // namespace fastcnn::cuda
