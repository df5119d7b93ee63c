// Batch norm by given statistics as a factor and a shift (interface in norm_fold.h): a thread per channel, in float64 as
// on the CPU.
#include "cuda/dispatch.cuh"
#include "cuda/launch.cuh"
#include "cuda/norm_fold.h"
#include "cuda/vec.cuh"

namespace fastcnn::cuda {
namespace {

constexpr int kThreads = 256;

template <class T>
FC_DEVICE double entry(const NormFoldParams::Vector& v, int64_t k, double missing) {
  return v.data ? static_cast<double>(widen(load(static_cast<const T*>(v.data) + k * v.stride))) : missing;
}

template <class T>
FC_KERNEL norm_fold_kernel(NormFoldParams p) {
  const int64_t k = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (k >= p.channels) return;
  const double s = entry<T>(p.weight, k, 1) / sqrt(entry<T>(p.var, k, 0) + p.eps);
  const double centred = entry<T>(p.before, k, 0) - entry<T>(p.mean, k, 0);
  store(static_cast<T*>(p.scale) + k, Narrow<T>::of(static_cast<Wide<T>>(s)));
  store(static_cast<T*>(p.shift) + k,
        Narrow<T>::of(static_cast<Wide<T>>(entry<T>(p.bias, k, 0) + centred * s)));
}

}  // namespace

void norm_fold(const NormFoldParams& p, void* stream) {
  dispatch_device_float(p.dtype, "batch_norm", [&](auto type) {
    using T = typename decltype(type)::type;
    launch("batch_norm", norm_fold_kernel<T>,
           {dim3(static_cast<unsigned>(ceil_div<int64_t>(p.channels, kThreads))), dim3(kThreads),
            static_cast<cudaStream_t>(stream)},
           p);
  });
}

}  // namespace fastcnn::cuda
