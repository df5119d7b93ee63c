// Local response normalisation (Krizhevsky et al. 2012) across channels, position by position.
#include <algorithm>
#include <cmath>

#include "cpu/norm.h"
#include "cpu/thread_pool.h"

namespace fastcnn::cpu {

namespace {

template <class T>
struct Lrn {
  using A = Accumulator<T>;
  const LrnParams& p;
  int64_t low = p.size / 2,
          high = (p.size - 1) / 2;  ///< channels before and after: an even window leans back
  explicit Lrn(const LrnParams& params) : p(params) {}

  int64_t offset(int64_t position, const int64_t* strides) const {
    int64_t at = 0;
    for (int i = p.ndim - 1; i >= 0; --i) {
      at += position % p.shape[i] * strides[i];
      position /= p.shape[i];
    }
    return at;
  }
  template <class F>
  void for_each_position(F&& f) const {
    const int64_t per_task = std::max<int64_t>(4096 / std::max<int64_t>(p.channels, 1), 1);
    parallel_for((p.positions + per_task - 1) / per_task,
                 [&](int64_t task, int slot) {
                   for (int64_t i = task * per_task; i < std::min((task + 1) * per_task, p.positions); ++i)
                     f(i, p.scratch + slot * 2 * p.channels);
                 },
                 p.threads);
  }
  // sums[c] = sum of value(j) over the window [c - before, c + after]; each is added up afresh, so that no error
  // (and no NaN) travels along the channels.
  template <class V>
  void window_sums(double* sums, int64_t before, int64_t after, V&& value) const {
    for (int64_t c = 0; c < p.channels; ++c) {
      double sum = 0;
      for (int64_t j = std::max<int64_t>(c - before, 0); j <= std::min(c + after, p.channels - 1); ++j)
        sum += value(j);
      sums[c] = sum;
    }
  }
  void divisors(const T* x, double* out) const {
    window_sums(out, low, high,
                [&](int64_t j) { return double(A(x[j * p.x_step])) * double(A(x[j * p.x_step])); });
    for (int64_t c = 0; c < p.channels; ++c) out[c] = p.k + p.alpha / double(p.size) * out[c];
  }

  void forward() const {
    for_each_position([&](int64_t i, double* scratch) {
      const T* x = static_cast<const T*>(p.x) + offset(i, p.x_strides);
      T* y = static_cast<T*>(p.y) + offset(i, p.y_strides);
      divisors(x, scratch);
      for (int64_t c = 0; c < p.channels; ++c)
        y[c * p.y_step] = T(A(double(A(x[c * p.x_step])) * std::pow(scratch[c], -p.beta)));
    });
  }
  // dx_c = dy_c d_c^-beta - 2 alpha beta / size * x_c * sum over the c' whose window holds c of dy x d^(-beta-1)
  void backward() const {
    for_each_position([&](int64_t i, double* d) {
      const T* x = static_cast<const T*>(p.x) + offset(i, p.x_strides);
      const T* dy = static_cast<const T*>(p.dy) + offset(i, p.dy_strides);
      T* dx = static_cast<T*>(p.y) + offset(i, p.y_strides);
      double* power = d + p.channels;
      divisors(x, d);
      for (int64_t c = 0; c < p.channels; ++c) {
        power[c] = std::pow(d[c], -p.beta);
        d[c] = double(A(dy[c * p.dy_step])) * double(A(x[c * p.x_step])) * power[c] / d[c];
      }
      for (int64_t c = 0; c < p.channels; ++c) power[c] *= double(A(dy[c * p.dy_step]));
      for (int64_t c = 0; c < p.channels; ++c) {
        double sum = 0;
        for (int64_t j = std::max<int64_t>(c - high, 0); j <= std::min(c + low, p.channels - 1); ++j)
          sum += d[j];
        const double slope = 2 * p.alpha * p.beta / double(p.size) * double(A(x[c * p.x_step]));
        dx[c * p.y_step] = T(A(power[c] - slope * sum));
      }
    });
  }
};

}  // namespace

void local_response_norm_forward(const LrnParams& p) {
  dispatch_float(p.dtype, "local_response_norm",
                 [&](auto type) { Lrn<typename decltype(type)::type>(p).forward(); });
}
void local_response_norm_backward(const LrnParams& p) {
  dispatch_float(p.dtype, "local_response_norm",
                 [&](auto type) { Lrn<typename decltype(type)::type>(p).backward(); });
}

}  // namespace fastcnn::cpu
