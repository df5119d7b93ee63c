// DropConnect: matrix products in which every sample has a mask of its own over the weights. No mask is stored: threads
// draw it where they need it, so the work is one Philox block for up to eight products.
//
// Forward gives an output to a warp, whose lanes take whole blocks of eight weights of a row. The gradients sum over the
// other index and give an output to a thread; its draws lie in_features apart, a block for each.
#include "cuda/dispatch.cuh"
#include "cuda/dropout.h"
#include "cuda/launch.cuh"
#include "cuda/reduce.cuh"
#include "cuda/vec.cuh"
#include "cuda/walk.cuh"

namespace fastcnn::cuda {
namespace {

constexpr int kThreads = 256, kDraws = 8;

template <class T>
struct DropConnect {
  const T *x, *w, *y;
  T* out;
  int64_t samples, in, outs;
  RandomKey key;
  uint32_t threshold;
  Wide<T> scale;

  FC_METHOD bool keeps(int64_t n, int64_t o, int64_t i) const {
    const int64_t position = o * in + i;
    const PhiloxBlock draws = philox(key, static_cast<uint64_t>(n), static_cast<uint64_t>(position / kDraws));
    return philox_half(draws, static_cast<int>(position % kDraws)) >= threshold;
  }
  FC_METHOD void put(int64_t at, Wide<T> sum) const { store(out + at, Narrow<T>::of(sum * scale)); }
};

/// y[n, o] = scale * sum over i of x[n, i] w[o, i] keep
template <class T>
FC_KERNEL drop_connect_forward_kernel(DropConnect<T> p, FastDivide outs) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  unsigned rest = blockIdx.x * (kThreads / 32) + threadIdx.x / 32;
  if (rest >= p.samples * p.outs) return;
  const int64_t o = outs.split(rest), n = rest;
  const int64_t begin = o * p.in, end = begin + p.in;
  const T *x = p.x + n * p.in, *w = p.w + begin;
  Wide<T> sum = 0;
  for (int64_t block = begin / kDraws + lane; block * kDraws < end; block += 32) {
    const PhiloxBlock draws = philox(p.key, static_cast<uint64_t>(n), static_cast<uint64_t>(block));
    FC_UNROLL
    for (int j = 0; j < kDraws; ++j) {
      const int64_t i = block * kDraws + j - begin;
      if (i >= 0 && i < p.in && philox_half(draws, j) >= p.threshold)
        sum += widen(load(x + i)) * widen(load(w + i));
    }
  }
  sum = warp_reduce<Sum>(sum);
  if (lane == 0) p.put(n * p.outs + o, sum);
}

/// dx[n, i] = scale * sum over o of dy[n, o] w[o, i] keep
template <class T>
FC_KERNEL drop_connect_input_kernel(DropConnect<T> p, FastDivide in) {
  unsigned rest = blockIdx.x * kThreads + threadIdx.x;
  if (rest >= p.samples * p.in) return;
  const int64_t i = in.split(rest), n = rest;
  Wide<T> sum = 0;
  for (int64_t o = 0; o < p.outs; ++o) {
    if (p.keeps(n, o, i)) sum += widen(load(p.y + n * p.outs + o)) * widen(load(p.w + o * p.in + i));
  }
  p.put(n * p.in + i, sum);
}

/// dw[o, i] = scale * sum over n of dy[n, o] x[n, i] keep
template <class T>
FC_KERNEL drop_connect_weight_kernel(DropConnect<T> p, FastDivide in) {
  unsigned rest = blockIdx.x * kThreads + threadIdx.x;
  if (rest >= p.outs * p.in) return;
  const int64_t i = in.split(rest), o = rest;
  Wide<T> sum = 0;
  for (int64_t n = 0; n < p.samples; ++n) {
    if (p.keeps(n, o, i)) sum += widen(load(p.y + n * p.outs + o)) * widen(load(p.x + n * p.in + i));
  }
  p.put(o * p.in + i, sum);
}

template <class T>
void run(const DropConnectParams& q, cudaStream_t stream) {
  const DropConnect<T> p{static_cast<const T*>(q.x),
                         static_cast<const T*>(q.w),
                         static_cast<const T*>(q.y),
                         static_cast<T*>(q.out),
                         q.samples,
                         q.in_features,
                         q.out_features,
                         q.key,
                         q.threshold,
                         static_cast<Wide<T>>(q.scale)};
  const bool forward = q.pass == DropConnectParams::forward;
  const bool input = q.pass == DropConnectParams::backward_input;
  const int64_t outputs =
      (input || forward ? q.samples : q.out_features) * (forward ? q.out_features : q.in_features);
  FC_CHECK(outputs <= kMaxIndices, "drop_connect: result of ", outputs, " elements, expected at most ",
           kMaxIndices, " on CUDA");
  const int64_t blocks = ceil_div<int64_t>(outputs * (forward ? 32 : 1), kThreads);
  const Grid grid{dim3(static_cast<unsigned>(blocks)), dim3(kThreads), stream};
  const FastDivide columns(forward ? q.out_features : q.in_features);
  if (forward) {
    launch("drop_connect", drop_connect_forward_kernel<T>, grid, p, columns);
  } else if (input) {
    launch("drop_connect", drop_connect_input_kernel<T>, grid, p, columns);
  } else {
    launch("drop_connect", drop_connect_weight_kernel<T>, grid, p, columns);
  }
}

}  // namespace

void drop_connect(const DropConnectParams& params, void* stream) {
  dispatch_device_float(params.dtype, "drop_connect", [&](auto type) {
    run<typename decltype(type)::type>(params, static_cast<cudaStream_t>(stream));
  });
}

}  // namespace fastcnn::cuda
