// The CUDA half of the template op: a kernel, and the function that picks its type and starts it. (A pointwise op of
// several operands, or over any strides, needs no kernel of its own: map.cuh takes a function object.)
#include "cuda/dispatch.cuh"
#include "cuda/launch.cuh"
#include "cuda/null_op.h"
#include "cuda/vec.cuh"

namespace fastcnn::cuda {
namespace {

constexpr int kThreads = 256;

/// kCount elements a thread: 16 bytes, or one element where a tensor is not aligned.
template <class T, int kCount>
FC_KERNEL null_op_kernel(const T* x, T* y, int64_t count, Wide<T> scale) {
  const int64_t first = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) * kCount;
  if (first + kCount <= count) {
    auto v = load(reinterpret_cast<const Vec<T, kCount>*>(x + first));
    FC_UNROLL
    for (int i = 0; i < kCount; ++i) v.at[i] = Narrow<T>::of(scale * widen(v.at[i]));
    store(reinterpret_cast<Vec<T, kCount>*>(y + first), v);
  } else {
    for (int64_t i = first; i < count; ++i) store(y + i, Narrow<T>::of(scale * widen(load(x + i))));
  }
}

}  // namespace

void null_op(const NullOpParams& p, void* stream) {
  dispatch_device_float(p.dtype, "null_op", [&](auto type) {
    using T = typename decltype(type)::type;
    const bool aligned = is_aligned(p.x, 16) && is_aligned(p.y, 16);
    const int64_t of_block = int64_t{kThreads} * (aligned ? kLanes<T> : 1);
    launch("null_op", aligned ? null_op_kernel<T, kLanes<T>> : null_op_kernel<T, 1>,
           {dim3(static_cast<unsigned>(ceil_div<int64_t>(p.count, of_block))), dim3(kThreads),
            static_cast<cudaStream_t>(stream)},
           static_cast<const T*>(p.x), static_cast<T*>(p.y), p.count, static_cast<Wide<T>>(p.scale));
  });
}

}  // namespace fastcnn::cuda
