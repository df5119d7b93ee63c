// arange and linspace: 16 bytes a thread, each element computed from its position as on the CPU.
#include <type_traits>

#include "cuda/dispatch.cuh"
#include "cuda/launch.cuh"
#include "cuda/scan.h"
#include "cuda/vec.cuh"

namespace fastcnn::cuda {
namespace {

constexpr int kThreads = 256;

template <class T>
FC_DEVICE T element(const RampParams& p, int64_t i) {
  if constexpr (std::is_integral_v<T>) {
    return Narrow<T>::of(p.whole(i));
  } else {
    return Narrow<T>::of(static_cast<Wide<T>>(p.real(i)));
  }
}

template <class T>
FC_KERNEL ramp_kernel(RampParams p, T* y) {
  constexpr int kCount = kLanes<T>;
  const int64_t first = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) * kCount;
  if (first + kCount <= p.count) {
    Vec<T, kCount> v;
    FC_UNROLL
    for (int i = 0; i < kCount; ++i) v.at[i] = element<T>(p, first + i);
    store(reinterpret_cast<Vec<T, kCount>*>(y + first), v);
  } else {
    for (int64_t i = first; i < p.count; ++i) store(y + i, element<T>(p, i));
  }
}

}  // namespace

void ramp(const RampParams& p, void* stream) {
  dispatch_device(p.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    const int64_t blocks = ceil_div<int64_t>(p.count, int64_t{kThreads} * kLanes<T>);
    FC_CHECK(blocks <= 2147483647, "arange: got ", p.count, " elements, more than one launch covers");
    launch("ramp", ramp_kernel<T>,
           {dim3(static_cast<unsigned>(blocks)), dim3(kThreads), static_cast<cudaStream_t>(stream)}, p,
           static_cast<T*>(p.y));
  });
}

}  // namespace fastcnn::cuda
