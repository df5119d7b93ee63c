// Softmax and log-softmax along any axis. Long rows get a warp each, whose lanes take neighbouring elements; short ones a
// thread each. A row is read three times (maximum, sum of exponentials, result), the second and third time from cache;
// only the result is written, so 16-bit types lose nothing on the way.
#include "cuda/dispatch.cuh"
#include "cuda/launch.cuh"
#include "cuda/reduce.cuh"
#include "cuda/softmax.h"
#include "cuda/vec.cuh"

namespace fastcnn::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kShortRow = 16;  // elements: fewer would leave half of a warp idle

/// The row's reduction: of a warp's lanes, or nothing to do for a thread on its own.
template <class Op, int kLanesOfRow, class T>
FC_DEVICE T row_reduce(T value) {
  if constexpr (kLanesOfRow == 32) value = warp_reduce<Op>(value);
  return value;
}

template <class T, int kLanesOfRow>
FC_KERNEL softmax_forward_kernel(SoftmaxParams p) {
  using A = Wide<T>;
  const int64_t thread = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  const int64_t position = thread / kLanesOfRow, lane = thread % kLanesOfRow;
  if (position >= p.positions) return;  // whole warps, where warps share rows
  const T* x = static_cast<const T*>(p.x_data) + p.x.offset(position);
  T* y = static_cast<T*>(p.y_data) + p.y.offset(position);
  A high = kLowest<A>;
  for (int64_t c = lane; c < p.classes; c += kLanesOfRow)
    high = Max::of(A(widen(load(x + c * p.x.step))), high);
  high = row_reduce<Max, kLanesOfRow>(high);  // infinite: x - high is NaN, as the result must be
  double sum = 0;
  for (int64_t c = lane; c < p.classes; c += kLanesOfRow)
    sum += static_cast<double>(exp(widen(load(x + c * p.x.step)) - high));
  sum = row_reduce<Sum, kLanesOfRow>(sum);
  const A shift = p.log ? static_cast<A>(log(sum)) : A(0), scale = static_cast<A>(1 / sum);
  for (int64_t c = lane; c < p.classes; c += kLanesOfRow) {
    const A v = widen(load(x + c * p.x.step)) - high;
    store(y + c * p.y.step, Narrow<T>::of(p.log ? v - shift : exp(v) * scale));
  }
}

/// dx = y (dy - sum y dy), or dy - exp(y) sum dy where y is the logarithm. y comes as p.x, dx goes to p.y.
template <class T, int kLanesOfRow>
FC_KERNEL softmax_backward_kernel(SoftmaxParams p) {
  using A = Wide<T>;
  const int64_t thread = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  const int64_t position = thread / kLanesOfRow, lane = thread % kLanesOfRow;
  if (position >= p.positions) return;
  const T* y = static_cast<const T*>(p.x_data) + p.x.offset(position);
  const T* dy = static_cast<const T*>(p.dy_data) + p.dy.offset(position);
  T* dx = static_cast<T*>(p.y_data) + p.y.offset(position);
  double total = 0;
  for (int64_t c = lane; c < p.classes; c += kLanesOfRow) {
    const A g = widen(load(dy + c * p.dy.step));
    total += static_cast<double>(p.log ? g : g * widen(load(y + c * p.x.step)));
  }
  const A sum = static_cast<A>(row_reduce<Sum, kLanesOfRow>(total));
  for (int64_t c = lane; c < p.classes; c += kLanesOfRow) {
    const A g = widen(load(dy + c * p.dy.step)), v = widen(load(y + c * p.x.step));
    store(dx + c * p.y.step, Narrow<T>::of(p.log ? g - exp(v) * sum : v * (g - sum)));
  }
}

bool is_short(const SoftmaxParams& p) { return p.classes < kShortRow; }

/// The number of lanes of a row depends on its length alone, and so does the order of its sums.
Grid grid_of(const SoftmaxParams& p, void* stream) {
  const int64_t lanes = is_short(p) ? 1 : 32, blocks = ceil_div<int64_t>(p.positions * lanes, kThreads);
  FC_CHECK(blocks <= kHighest<int32_t>, "softmax: ", p.positions, " rows, expected at most ",
           int64_t{kHighest<int32_t>} * kThreads / lanes, " on CUDA");
  return {dim3(static_cast<unsigned>(blocks)), dim3(kThreads), static_cast<cudaStream_t>(stream)};
}

}  // namespace

void softmax_forward(const SoftmaxParams& p, void* stream) {
  dispatch_device_float(p.dtype, "softmax", [&](auto type) {
    using T = typename decltype(type)::type;
    launch("softmax", is_short(p) ? softmax_forward_kernel<T, 1> : softmax_forward_kernel<T, 32>,
           grid_of(p, stream), p);
  });
}

void softmax_backward(const SoftmaxParams& p, void* stream) {
  dispatch_device_float(p.dtype, "softmax", [&](auto type) {
    using T = typename decltype(type)::type;
    launch("softmax_backward", is_short(p) ? softmax_backward_kernel<T, 1> : softmax_backward_kernel<T, 32>,
           grid_of(p, stream), p);
  });
}

}  // namespace fastcnn::cuda
