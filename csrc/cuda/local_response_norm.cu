// Local response normalisation across channels: a thread per element, channels innermost, so that a warp's windows
// overlap in cache. Backward computes the divisors of its window anew (size^2 reads from cache) instead of storing them.
#include "cuda/dispatch.cuh"
#include "cuda/launch.cuh"
#include "cuda/row_norm.h"
#include "cuda/vec.cuh"
#include "cuda/walk.cuh"

namespace fastcnn::cuda {
namespace {

constexpr int kThreads = 256;

template <class T>
struct Lrn {
  const T *x, *dy;
  T* y;
  int64_t channels, low, high;  // a window is c - low .. c + high: an even one leans back
  double size, alpha, beta, k;
  int64_t x_step, y_step, dy_step;

  FC_METHOD double x_of(int64_t at, int64_t c) const {
    return static_cast<double>(widen(load(x + at + c * x_step)));
  }
  /// k + alpha / size * sum of squares over the window of c.
  FC_METHOD double divisor(int64_t at, int64_t c) const {
    const int64_t last = c + high < channels ? c + high : channels - 1;
    double sum = 0;
    for (int64_t j = c > low ? c - low : 0; j <= last; ++j) sum += x_of(at, j) * x_of(at, j);
    return k + alpha / size * sum;
  }
};

template <class T>
FC_KERNEL lrn_forward_kernel(Lrn<T> l, unsigned count, FastDivide channels, Walk<2> positions) {
  unsigned rest = blockIdx.x * kThreads + threadIdx.x;
  if (rest >= count) return;
  const int64_t c = channels.split(rest);
  int64_t at[2];
  positions.offsets(rest, at);
  const double y = l.x_of(at[0], c) * pow(l.divisor(at[0], c), -l.beta);
  store(l.y + at[1] + c * l.y_step, Narrow<T>::of(static_cast<Wide<T>>(y)));
}

/// dx_c = dy_c d_c^-beta - 2 alpha beta / size * x_c * sum over the c' whose window holds c of dy x d^(-beta - 1)
template <class T>
FC_KERNEL lrn_backward_kernel(Lrn<T> l, unsigned count, FastDivide channels, Walk<3> positions) {
  unsigned rest = blockIdx.x * kThreads + threadIdx.x;
  if (rest >= count) return;
  const int64_t c = channels.split(rest);
  int64_t at[3];
  positions.offsets(rest, at);
  const int64_t last = c + l.low < l.channels ? c + l.low : l.channels - 1;
  double sum = 0, own = 0;
  for (int64_t j = c > l.high ? c - l.high : 0; j <= last; ++j) {
    const double d = l.divisor(at[0], j), power = pow(d, -l.beta);
    const double dy = static_cast<double>(widen(load(l.dy + at[2] + j * l.dy_step)));
    sum += dy * l.x_of(at[0], j) * power / d;
    if (j == c) own = dy * power;
  }
  const double dx = own - 2 * l.alpha * l.beta / l.size * l.x_of(at[0], c) * sum;
  store(l.y + at[1] + c * l.y_step, Narrow<T>::of(static_cast<Wide<T>>(dx)));
}

template <class T>
void run(const LrnParams& p, cudaStream_t stream) {
  const int64_t total = p.positions * p.channels;
  FC_CHECK(total <= kMaxIndices, "local_response_norm: input has ", total, " elements, expected at most ",
           kMaxIndices, " on CUDA");
  const Lrn<T> l{static_cast<const T*>(p.x),
                 static_cast<const T*>(p.dy),
                 static_cast<T*>(p.y),
                 p.channels,
                 p.size / 2,
                 (p.size - 1) / 2,
                 static_cast<double>(p.size),
                 p.alpha,
                 p.beta,
                 p.k,
                 p.x_step,
                 p.y_step,
                 p.dy_step};
  const auto count = static_cast<unsigned>(total);
  const Grid grid{dim3(ceil_div<unsigned>(count, kThreads)), dim3(kThreads), stream};
  if (p.dy) {
    const int64_t* const strides[] = {p.x_strides, p.y_strides, p.dy_strides};
    launch("local_response_norm_backward", lrn_backward_kernel<T>, grid, l, count, FastDivide(p.channels),
           make_walk(p.ndim, p.shape, strides));
  } else {
    const int64_t* const strides[] = {p.x_strides, p.y_strides};
    launch("local_response_norm", lrn_forward_kernel<T>, grid, l, count, FastDivide(p.channels),
           make_walk(p.ndim, p.shape, strides));
  }
}

void start(const LrnParams& p, void* stream) {
  dispatch_device_float(p.dtype, "local_response_norm", [&](auto type) {
    run<typename decltype(type)::type>(p, static_cast<cudaStream_t>(stream));
  });
}

}  // namespace

void local_response_norm_forward(const LrnParams& p, void* stream) { start(p, stream); }
void local_response_norm_backward(const LrnParams& p, void* stream) { start(p, stream); }

}  // namespace fastcnn::cuda
