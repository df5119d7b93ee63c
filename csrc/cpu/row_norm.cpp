// Layer norm and RMS norm. A row is read from memory once and then from cache: mean, squares about it, result.
#include <algorithm>
#include <cmath>

#include "cpu/norm.h"
#include "cpu/thread_pool.h"

namespace fastcnn::cpu {

namespace {

constexpr int64_t kTaskElems = 16384;
constexpr int kLanes = 16;  // partial sums side by side: vectorises, and the order is the same on every ISA
constexpr int64_t kRun = 4096;  // elements summed in the accumulator type before float64 takes over

// The sum of f(i) for i in [0, n).
template <class A, class F>
double row_sum(int64_t n, F&& f) {
  double total = 0;
  for (int64_t first = 0; first < n; first += kRun) {
    const int64_t end = std::min(first + kRun, n);
    A lanes[kLanes] = {};
    int64_t i = first;
    for (; i + kLanes <= end; i += kLanes)
      for (int l = 0; l < kLanes; ++l) lanes[l] += f(i + l);
    for (; i < end; ++i) lanes[i % kLanes] += f(i);
    for (int width = kLanes / 2; width; width /= 2)
      for (int l = 0; l < width; ++l) lanes[l] += lanes[l + width];
    total += double(lanes[0]);
  }
  return total;
}

template <class F>
void for_each_row(const RowNormParams& p, F&& f) {
  const int64_t per_task = std::max<int64_t>(kTaskElems / std::max<int64_t>(p.size, 1), 1);
  parallel_for((p.rows + per_task - 1) / per_task, [&](int64_t task, int) {
    for (int64_t r = task * per_task; r < std::min((task + 1) * per_task, p.rows); ++r) f(r);
  });
}

template <class T>
void forward(const RowNormParams& p) {
  using A = Accumulator<T>;
  const T *weight = static_cast<const T*>(p.weight), *bias = static_cast<const T*>(p.bias);
  A *means = static_cast<A*>(p.stats), *invstds = means + p.rows;
  for_each_row(p, [&](int64_t r) {
    const T* x = static_cast<const T*>(p.x) + r * p.size;
    T* y = static_cast<T*>(p.y) + r * p.size;
    const double n = double(p.size);
    double mean = p.center ? row_sum<A>(p.size, [&](int64_t i) { return A(x[i]); }) / n : 0;
    const A center = A(mean);
    double square =
        row_sum<A>(p.size, [&](int64_t i) { return (A(x[i]) - center) * (A(x[i]) - center); }) / n;
    if (p.center) square = std::max(square - (mean - double(center)) * (mean - double(center)), 0.0);
    const A invstd = A(1 / std::sqrt(square + p.eps));
    means[r] = center;
    invstds[r] = invstd;
    for (int64_t i = 0; i < p.size; ++i)
      y[i] = T((A(x[i]) - center) * invstd * (weight ? A(weight[i]) : A(1)) + (bias ? A(bias[i]) : A(0)));
  });
}

template <class T>
void backward_input(const RowNormParams& p) {
  using A = Accumulator<T>;
  const T* weight = static_cast<const T*>(p.weight);
  const A *means = static_cast<const A*>(p.stats), *invstds = means + p.rows;
  for_each_row(p, [&](int64_t r) {
    const T *x = static_cast<const T*>(p.x) + r * p.size, *dy = static_cast<const T*>(p.dy) + r * p.size;
    T* dx = static_cast<T*>(p.dx) + r * p.size;
    const A mean = means[r], invstd = invstds[r];
    const auto g = [&](int64_t i) { return weight ? A(dy[i]) * A(weight[i]) : A(dy[i]); };
    const double n = double(p.size);
    const A s1 = p.center ? A(row_sum<A>(p.size, g) / n) : A(0);
    const A s2 = A(row_sum<A>(p.size, [&](int64_t i) { return g(i) * ((A(x[i]) - mean) * invstd); }) / n);
    for (int64_t i = 0; i < p.size; ++i) dx[i] = T(invstd * (g(i) - s1 - (A(x[i]) - mean) * invstd * s2));
  });
}

template <class T>
void backward_affine(const RowNormParams& p) {
  using A = Accumulator<T>;
  const A *means = static_cast<const A*>(p.stats), *invstds = means + p.rows;
  const int64_t chunks = p.chunks(), per_chunk = (p.rows + chunks - 1) / chunks;
  parallel_for(chunks, [&](int64_t chunk, int) {
    double *db = p.partial + chunk * 2 * p.size, *dw = db + p.size;
    std::fill(db, db + 2 * p.size, 0.0);
    for (int64_t r = chunk * per_chunk; r < std::min((chunk + 1) * per_chunk, p.rows); ++r) {
      const T *x = static_cast<const T*>(p.x) + r * p.size, *dy = static_cast<const T*>(p.dy) + r * p.size;
      const A mean = means[r], invstd = invstds[r];
      for (int64_t i = 0; i < p.size; ++i) {
        db[i] += double(A(dy[i]));
        dw[i] += double(A(dy[i]) * ((A(x[i]) - mean) * invstd));
      }
    }
  });
  T *dweight = static_cast<T*>(p.dweight), *dbias = static_cast<T*>(p.dbias);
  parallel_for((p.size + 1023) / 1024, [&](int64_t task, int) {
    for (int64_t i = task * 1024; i < std::min(task * 1024 + 1024, p.size); ++i) {
      double db = 0, dw = 0;
      for (int64_t chunk = 0; chunk < chunks; ++chunk) {
        db += p.partial[chunk * 2 * p.size + i];
        dw += p.partial[chunk * 2 * p.size + p.size + i];
      }
      if (dbias) dbias[i] = T(A(db));
      if (dweight) dweight[i] = T(A(dw));
    }
  });
}

}  // namespace

void row_norm_forward(const RowNormParams& p) {
  dispatch_float(p.dtype, "row_norm", [&](auto type) { forward<typename decltype(type)::type>(p); });
}
void row_norm_backward(const RowNormParams& p) {
  dispatch_float(p.dtype, "row_norm", [&](auto type) {
    using T = typename decltype(type)::type;
    if (p.dx) backward_input<T>(p);
    if (p.dweight || p.dbias) backward_affine<T>(p);
  });
}

}  // namespace fastcnn::cpu
