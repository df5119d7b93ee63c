// Pooling: rows of pixels are dealt to tasks. Forward by output rows, backward by input rows, each of which gathers
// from the outputs that looked at it, so no two tasks write one element and sums have one order.
#include "cpu/pool.h"

#include <algorithm>
#include <limits>

#include "cpu/isa.h"
#include "cpu/stream.h"
#include "cpu/thread_pool.h"

namespace fastcnn::cpu {

namespace {

#include "cpu/kernels/pool.inl"

template <class A>
struct Lowest {
  static A value() {
    return std::numeric_limits<A>::has_infinity ? -std::numeric_limits<A>::infinity()
                                                : std::numeric_limits<A>::lowest();
  }
};

template <class T>
PoolKernels loops() {
  using A = Accumulator<T>;
  if constexpr (std::is_same_v<T, float>) {
    return kernels().pool;
  } else {
    return {pool_max_forward<T, A, uint8_t, Lowest<A>>,
            pool_max_forward<T, A, int32_t, Lowest<A>>,
            pool_max_backward<T, A, uint8_t>,
            pool_max_backward<T, A, int32_t>,
            pool_avg_forward<T, A>,
            pool_avg_backward<T, A>};
  }
}

// Calls f(n, d, h) for every row of an (N, D, H) grid of rows with `row_elems` elements each.
template <class F>
void for_each_row(int64_t N, int64_t D, int64_t H, int64_t row_elems, F&& f) {
  constexpr int64_t kTaskElems = 16384;
  const int64_t rows = N * D * H,
                per_task = std::max<int64_t>(1, kTaskElems / std::max<int64_t>(row_elems, 1));
  parallel_for((rows + per_task - 1) / per_task, [&](int64_t task, int) {
    for (int64_t row = task * per_task; row < std::min(rows, (task + 1) * per_task); ++row)
      f(row / (D * H), row / H % D, row % H);
  });
}

// The window's divisor along one axis; the override replaces the product of all three, so it stands at the width.
double divisor(const PoolParams& a, int axis, const PoolSpan& s) {
  if (a.divisor != 0) return axis == 2 ? a.divisor : 1;
  return double(a.include_padding ? s.length : s.taps);
}

template <class T>
void forward(const PoolParams& a, void (*kernel)(const PoolForwardRow*), bool average) {
  const PoolProblem& p = *a.problem;
  const std::vector<PoolSpan> depth = p.spans(0), height = p.spans(1), width = p.spans(2);
  const int64_t stride[3] = {p.in[1] * p.in[2] * p.C, p.in[2] * p.C, p.C};
  std::vector<int64_t> offset, taps, first;
  for (const PoolSpan& s : width) {
    offset.push_back(s.first * stride[2]);
    taps.push_back(s.taps);
    first.push_back(s.tap);
  }
  const size_t tap_bytes = size_of(a.tap_dtype);
  // From memory, and where rows of windows overlap or touch.
  const bool ahead = !p.adaptive && p.step[1] == 1 && p.step[2] == 1 && p.stride[1] <= p.window[1] &&
                     p.N * p.in[0] * stride[0] * int64_t(sizeof(T)) > kFarBytes;
  for_each_row(p.N, p.out[0], p.out[1], p.out[2] * p.C, [&](int64_t n, int64_t d, int64_t h) {
    const int64_t at = ((n * p.out[0] + d) * p.out[1] + h) * p.out[2] * p.C;
    PoolForwardRow r{};
    r.x = static_cast<const T*>(a.x) + n * p.in[0] * stride[0];
    r.y = static_cast<T*>(a.y) + at;
    r.tap = a.tap ? static_cast<char*>(a.tap) + at * int64_t(tap_bytes) : nullptr;
    r.channels = p.C;
    r.columns = p.out[2];
    for (int i = 0; i < 3; ++i) r.x_step[i] = p.step[i] * stride[i];
    r.x_origin = depth[size_t(d)].first * stride[0] + height[size_t(h)].first * stride[1];
    r.taps[0] = depth[size_t(d)].taps, r.taps[1] = height[size_t(h)].taps;
    r.first[0] = depth[size_t(d)].tap, r.first[1] = height[size_t(h)].tap;
    r.window_h = p.window[1], r.window_w = p.window[2];
    r.relu = a.relu;
    if (ahead && h + 1 < p.out[1]) {
      r.ahead = p.stride[1] * stride[1];
      r.fresh[0] = std::min(p.stride[1], r.taps[0] > 0 ? r.taps[1] : 0);
      r.fresh[1] = std::min(p.stride[2], p.window[2]);
    }
    r.column_offset = offset.data(), r.column_taps = taps.data(), r.column_first = first.data();
    std::vector<double> divisors;
    if (average) {
      const double rows = divisor(a, 0, depth[size_t(d)]) * divisor(a, 1, height[size_t(h)]);
      for (const PoolSpan& s : width) divisors.push_back(rows * divisor(a, 2, s));
      r.column_divisor = divisors.data();
    }
    kernel(&r);
  });
}

template <class T>
void backward(const PoolParams& a, void (*kernel)(const PoolBackwardRow*)) {
  const PoolProblem& p = *a.problem;
  PoolProblem::Hits hits[3];
  std::vector<double> divisors[3];
  for (int i = 0; i < 3; ++i) {
    hits[i] = p.hits(i);
    for (const PoolSpan& s : p.spans(i)) divisors[i].push_back(divisor(a, i, s));
  }
  const int64_t row_step = p.out[2] * p.C, plane_step = p.out[1] * row_step, sample = p.out[0] * plane_step;
  std::vector<int64_t> column_offset, column_code;
  std::vector<double> column_scale;
  for (const PoolHit& hit : hits[2].list) {
    column_offset.push_back(hit.out * p.C);
    column_code.push_back(hit.tap);
    column_scale.push_back(divisors[2][size_t(hit.out)]);
  }
  // The same of a sample's rows: those of row i are row_begin[i] .. row_begin[i + 1] - 1.
  std::vector<int64_t> row_begin{0}, row_offset, row_code;
  std::vector<double> row_scale;
  for (int64_t d = 0; d < p.in[0]; ++d)
    for (int64_t h = 0; h < p.in[1]; ++h) {
      for (int64_t i = hits[0].begin[size_t(d)]; i < hits[0].begin[size_t(d) + 1]; ++i)
        for (int64_t j = hits[1].begin[size_t(h)]; j < hits[1].begin[size_t(h) + 1]; ++j) {
          const PoolHit &x = hits[0].list[size_t(i)], &y = hits[1].list[size_t(j)];
          row_offset.push_back(x.out * plane_step + y.out * row_step);
          row_code.push_back((x.tap * p.window[1] + y.tap) * p.window[2]);
          row_scale.push_back(divisors[0][size_t(x.out)] * divisors[1][size_t(y.out)]);
        }
      row_begin.push_back(int64_t(row_offset.size()));
    }
  const size_t tap_bytes = size_of(a.tap_dtype);
  const bool far = p.N * p.in[0] * p.in[1] * p.in[2] * p.C * int64_t(sizeof(T)) > kFarBytes;
  for_each_row(p.N, p.in[0], p.in[1], p.in[2] * p.C, [&](int64_t n, int64_t d, int64_t h) {
    PoolBackwardRow r{};
    r.dx = static_cast<T*>(a.dx) + ((n * p.in[0] + d) * p.in[1] + h) * p.in[2] * p.C;
    r.dy = static_cast<const T*>(a.dy) + n * sample;
    r.tap = a.tap ? static_cast<const char*>(a.tap) + n * sample * int64_t(tap_bytes) : nullptr;
    r.channels = p.C;
    r.columns = p.in[2];
    const int64_t row = d * p.in[1] + h, first = row_begin[size_t(row)];
    r.row_hits = row_begin[size_t(row) + 1] - first;
    r.row_offset = row_offset.data() + first, r.row_code = row_code.data() + first;
    r.row_scale = row_scale.data() + first;
    if (far && r.row_hits > 0 && r.row_offset[r.row_hits - 1] + row_step < sample) r.ahead = row_step;
    r.column_begin = hits[2].begin.data();
    r.column_offset = column_offset.data(), r.column_code = column_code.data();
    r.column_scale = column_scale.data();
    r.stream = std::is_same_v<T, float> && p.N * p.in[0] * p.in[1] * p.in[2] * p.C * 4 >= kStreamBytes;
    kernel(&r);
  });
}

template <class F>
void with_type(const PoolParams& a, F&& f) {
  dispatch_all(a.problem->dtype, [&](auto type) { f(type); });
}
template <class F>
void with_float(const PoolParams& a, F&& f) {
  dispatch_float(a.problem->dtype, "pool", [&](auto type) { f(type); });
}

// Calls f(element of the output, n, channel, flat cell in the plane or -1) for every output element; -1 for windows in
// the padding and for those that a ReLU in front stops.
template <class P, class F>
void for_each_winner(const PoolParams& a, F&& f) {
  const PoolProblem& p = *a.problem;
  const std::vector<PoolSpan> spans[3] = {p.spans(0), p.spans(1), p.spans(2)};
  const P* tap = static_cast<const P*>(a.tap);
  for_each_row(p.N, p.out[0], p.out[1], p.out[2] * p.C, [&](int64_t n, int64_t d, int64_t h) {
    int64_t at = ((n * p.out[0] + d) * p.out[1] + h) * p.out[2] * p.C;
    for (int64_t w = 0; w < p.out[2]; ++w) {
      const PoolSpan s[3] = {spans[0][size_t(d)], spans[1][size_t(h)], spans[2][size_t(w)]};
      const bool empty = s[0].taps * s[1].taps * s[2].taps == 0;
      for (int64_t c = 0; c < p.C; ++c, ++at) {
        const int64_t code = int64_t(tap[at]);
        const int64_t t[3] = {code / p.window[2] / p.window[1], code / p.window[2] % p.window[1],
                              code % p.window[2]};
        int64_t cell = 0;
        for (int i = 0; i < 3; ++i) cell = cell * p.in[i] + s[i].first + (t[i] - s[i].tap) * p.step[i];
        f(at, n, c, empty || code < 0 || code >= p.taps() ? -1 : cell);
      }
    }
  });
}

template <class F>
void with_winners(const PoolParams& a, F&& f) {
  if (a.tap_dtype == DType::uint8)
    for_each_winner<uint8_t>(a, f);
  else
    for_each_winner<int32_t>(a, f);
}

}  // namespace

void max_pool_forward(const PoolParams& a) {
  with_type(a, [&](auto type) {
    using T = typename decltype(type)::type;
    const PoolKernels k = loops<T>();
    const bool wide = a.tap && a.tap_dtype != DType::uint8;
    forward<T>(a, wide ? k.max_forward_wide : k.max_forward, false);
  });
}
void max_pool_backward(const PoolParams& a) {
  with_float(a, [&](auto type) {
    using T = typename decltype(type)::type;
    const PoolKernels k = loops<T>();
    backward<T>(a, a.tap_dtype == DType::uint8 ? k.max_backward : k.max_backward_wide);
  });
}
void avg_pool_forward(const PoolParams& a) {
  with_float(a, [&](auto type) {
    using T = typename decltype(type)::type;
    forward<T>(a, loops<T>().avg_forward, true);
  });
}
void avg_pool_backward(const PoolParams& a) {
  with_float(a, [&](auto type) {
    using T = typename decltype(type)::type;
    backward<T>(a, loops<T>().avg_backward);
  });
}

void max_pool_indices(const PoolParams& a) {
  int64_t* y = static_cast<int64_t*>(a.y);
  with_winners(a, [&](int64_t at, int64_t, int64_t, int64_t cell) { y[at] = std::max<int64_t>(cell, 0); });
}
void max_pool_gather(const PoolParams& a) {
  const PoolProblem& p = *a.problem;
  const int64_t plane = p.in[0] * p.in[1] * p.in[2];
  with_float(a, [&](auto type) {
    using T = typename decltype(type)::type;
    const T* x = static_cast<const T*>(a.x);
    T* y = static_cast<T*>(a.y);
    with_winners(a, [&](int64_t at, int64_t n, int64_t c, int64_t cell) {
      y[at] = cell < 0 ? T(Accumulator<T>(0)) : x[(n * plane + cell) * p.C + c];
    });
  });
}

}  // namespace fastcnn::cpu
