// y = x * factor with a random factor for each element (Gaussian dropout, RReLU). One Philox block gives four numbers,
// which belong to four neighbouring positions of a sample in logical (NCHW) order: a thread draws a block and writes those
// elements, wherever they lie. The factor is computed in float64 without fused multiply-adds, as on the CPU.
#include <algorithm>

#include "common/normal.h"
#include "cuda/dispatch.cuh"
#include "cuda/launch.cuh"
#include "cuda/random.h"
#include "cuda/vec.cuh"
#include "cuda/walk.cuh"

namespace fastcnn::cuda {
namespace {

constexpr int kThreads = 256, kDraws = 4;

template <class T>
struct Scale {
  const T *x, *sign;
  T* y;
  RandomKey key;
  bool gaussian;
  double a, b;
  int64_t x_step, sign_step, y_step;  // from sample to sample
};

template <class T>
FC_KERNEL random_scale_kernel(Scale<T> p, unsigned count, FastDivide blocks, unsigned size, Walk<3> sample) {
  using A = Wide<T>;
  unsigned rest = blockIdx.x * kThreads + threadIdx.x;
  if (rest >= count) return;
  const unsigned block = blocks.split(rest);
  const int64_t n = rest;
  const PhiloxBlock draws = philox(p.key, static_cast<uint64_t>(n), block);
  FC_UNROLL
  for (int j = 0; j < kDraws; ++j) {
    const unsigned position = block * kDraws + static_cast<unsigned>(j);
    if (position >= size) break;
    int64_t at[3];  // x, sign, y
    sample.offsets(position, at);
    double factor = 1;
    if (p.gaussian) {
      factor = random_mul_add(p.a, random_normal4(draws, j), 1);
    } else if (widen(load(p.sign + n * p.sign_step + at[1])) <= 0) {
      factor = random_mul_add(p.b - p.a, random_fraction(draws, j, 24), p.a);
    }
    const A v = widen(load(p.x + n * p.x_step + at[0])) * static_cast<A>(factor);
    store(p.y + n * p.y_step + at[2], Narrow<T>::of(v));
  }
}

template <class T>
void run(const RandomScaleParams& q, cudaStream_t stream) {
  // Axis 0 is the sample; a scalar is a sample of one.
  const int inner = q.ndim > 0 ? q.ndim - 1 : 0;
  const int64_t samples = q.ndim ? q.shape[0] : 1;
  int64_t size = 1;
  for (int axis = 1; axis < q.ndim; ++axis) size *= q.shape[axis];
  FC_CHECK(size <= kMaxIndices, "random_scale: a sample of ", size, " elements, expected at most ",
           kMaxIndices, " on CUDA");
  Scale<T> p{static_cast<const T*>(q.x),
             static_cast<const T*>(q.sign),
             static_cast<T*>(q.y),
             q.key,
             q.kind == RandomScaleParams::gaussian,
             q.a,
             q.b,
             q.ndim ? q.x_strides[0] : 0,
             q.ndim ? q.sign_strides[0] : 0,
             q.ndim ? q.y_strides[0] : 0};
  const int64_t* const strides[] = {q.x_strides + 1, q.sign_strides + 1, q.y_strides + 1};
  const int64_t blocks = ceil_div<int64_t>(size, kDraws), at_once = kMaxIndices / blocks;
  for (int64_t n = 0; n < samples; n += at_once) {
    const auto count = static_cast<unsigned>(std::min(at_once, samples - n) * blocks);
    launch("random_scale", random_scale_kernel<T>,
           {dim3(ceil_div<unsigned>(count, kThreads)), dim3(kThreads), stream}, p, count, FastDivide(blocks),
           static_cast<unsigned>(size), make_walk(inner, q.shape + 1, strides));
    p.x += at_once * p.x_step;
    p.sign += at_once * p.sign_step;
    p.y += at_once * p.y_step;
    p.key.first_sample += static_cast<uint64_t>(at_once);
  }
}

}  // namespace

void random_scale(const RandomScaleParams& params, void* stream) {
  dispatch_device_float(params.dtype, "random_scale", [&](auto type) {
    run<typename decltype(type)::type>(params, static_cast<cudaStream_t>(stream));
  });
}

}  // namespace fastcnn::cuda
