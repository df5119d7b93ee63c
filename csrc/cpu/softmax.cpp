// Softmax and log-softmax along any axis. Rows whose axis is not innermost are walked with its stride.
#include <algorithm>
#include <cmath>
#include <limits>

#include "cpu/loss.h"
#include "cpu/thread_pool.h"

namespace fastcnn::cpu {

namespace {

constexpr int64_t kTaskElems = 16384;

template <class F>
void for_each_row(const SoftmaxParams& p, F&& f) {
  const int64_t per_task = std::max<int64_t>(kTaskElems / std::max<int64_t>(p.classes, 1), 1);
  parallel_for((p.positions + per_task - 1) / per_task, [&](int64_t task, int) {
    const int64_t end = std::min((task + 1) * per_task, p.positions);
    for (int64_t i = task * per_task; i < end; ++i) f(i);
  });
}

// The largest element; NaN wins and stays.
template <class T>
Accumulator<T> row_max(const T* x, int64_t n, int64_t step) {
  using A = Accumulator<T>;
  A high = -std::numeric_limits<A>::infinity();
  for (int64_t c = 0; c < n; ++c) {
    const A v = A(x[c * step]);
    high = v > high || v != v ? v : high;
  }
  return high;
}

template <class T>
void forward(const SoftmaxParams& p) {
  using A = Accumulator<T>;
  for_each_row(p, [&](int64_t i) {
    const T* x = static_cast<const T*>(p.x_data) + p.x.offset(i);
    T* y = static_cast<T*>(p.y_data) + p.y.offset(i);
    const A high = row_max(x, p.classes, p.x.step);  // infinite: x - high is NaN, as the result must be
    double sum = 0;
    for (int64_t c = 0; c < p.classes; ++c) sum += double(std::exp(A(x[c * p.x.step]) - high));
    if (p.log) {
      const A shift = A(std::log(sum));
      for (int64_t c = 0; c < p.classes; ++c) y[c * p.y.step] = T(A(x[c * p.x.step]) - high - shift);
    } else {
      for (int64_t c = 0; c < p.classes; ++c)
        y[c * p.y.step] = T(A(double(std::exp(A(x[c * p.x.step]) - high)) / sum));
    }
  });
}

template <class T>
void backward(const SoftmaxParams& p) {
  using A = Accumulator<T>;
  for_each_row(p, [&](int64_t i) {
    const T* y = static_cast<const T*>(p.x_data) + p.x.offset(i);
    const T* dy = static_cast<const T*>(p.dy_data) + p.dy.offset(i);
    T* dx = static_cast<T*>(p.y_data) + p.y.offset(i);
    double sum = 0;
    for (int64_t c = 0; c < p.classes; ++c) {
      const double g = double(A(dy[c * p.dy.step]));
      sum += p.log ? g : g * double(A(y[c * p.x.step]));
    }
    for (int64_t c = 0; c < p.classes; ++c) {
      const A g = A(dy[c * p.dy.step]), v = A(y[c * p.x.step]);
      dx[c * p.y.step] = T(p.log ? g - std::exp(v) * A(sum) : v * A(double(g) - sum));
    }
  });
}

}  // namespace

void softmax_forward(const SoftmaxParams& p) {
  dispatch_float(p.dtype, "softmax", [&](auto type) { forward<typename decltype(type)::type>(p); });
}
void softmax_backward(const SoftmaxParams& p) {
  dispatch_float(p.dtype, "softmax", [&](auto type) { backward<typename decltype(type)::type>(p); });
}

}  // namespace fastcnn::cpu
