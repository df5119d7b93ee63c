#include "cuda/dispatch.cuh"
#include "cuda/launch.cuh"
#include "cuda/relu.h"
#include "cuda/vec.cuh"

namespace fastcnn::cuda {
namespace {

constexpr int kThreads = 256;

/// 16 bytes a thread, or one element where the tensors are not aligned.
template <class T, int kCount>
FC_KERNEL relu_kernel(const T* x, T* y, int64_t count) {
  const int64_t first = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) * kCount;
  if (first + kCount <= count) {
    auto v = load(reinterpret_cast<const Vec<T, kCount>*>(x + first));
    FC_UNROLL
    for (int i = 0; i < kCount; ++i) {
      if (widen(v.at[i]) < 0) v.at[i] = Narrow<T>::of(0);
    }
    store(reinterpret_cast<Vec<T, kCount>*>(y + first), v);
  } else {
    for (int64_t i = first; i < count; ++i) {
      const T v = load(x + i);
      store(y + i, widen(v) < 0 ? Narrow<T>::of(0) : v);
    }
  }
}

template <class T, int kCount>
void run(const ReluArgs& a, cudaStream_t stream) {
  const auto blocks = static_cast<unsigned>(ceil_div<int64_t>(a.count, int64_t{kThreads} * kCount));
  launch("relu", relu_kernel<T, kCount>, {dim3(blocks), dim3(kThreads), stream}, static_cast<const T*>(a.x),
         static_cast<T*>(a.y), a.count);
}

}  // namespace

void relu(const ReluArgs& a, void* stream) {
  const auto s = static_cast<cudaStream_t>(stream);
  dispatch_device_float(a.dtype, "relu", [&](auto type) {
    using T = typename decltype(type)::type;
    if (is_aligned(a.x, 16) && is_aligned(a.y, 16)) {
      run<T, kLanes<T>>(a, s);
    } else {
      run<T, 1>(a, s);
    }
  });
}

}  // namespace fastcnn::cuda
