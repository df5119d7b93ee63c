#include "common/pool_problem.h"

#include <algorithm>

namespace fastcnn {

namespace {

constexpr const char* kAxisNames[] = {"depth", "height", "width"};

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Windows of a plain (not adaptive) axis that start inside the input or its low padding.
int64_t window_count(const PoolProblem& p, int axis, bool ceil_mode) {
  const int64_t room =
      p.in[axis] + p.pad_low[axis] + p.pad_high[axis] - p.step[axis] * (p.window[axis] - 1) - 1;
  if (room < 0) return 0;
  int64_t count = (ceil_mode ? ceil_div(room, p.stride[axis]) : room / p.stride[axis]) + 1;
  // A last window that would start in the high padding is ignored, as in torch and ONNX.
  if (ceil_mode && (count - 1) * p.stride[axis] >= p.in[axis] + p.pad_low[axis]) --count;
  return count;
}

void check_axis(const char* op, const PoolProblem& p, int axis) {
  const char* name = kAxisNames[axis];
  FC_CHECK(p.window[axis] > 0, op, ": kernel ", name, " is ", p.window[axis], ", expected at least 1");
  FC_CHECK(p.stride[axis] > 0, op, ": stride should not be zero or negative, got ", p.stride[axis], " along ",
           name);
  FC_CHECK(p.step[axis] > 0, op, ": dilation along ", name, " is ", p.step[axis], ", expected at least 1");
  constexpr int64_t kHuge = int64_t{1} << 40;  // keeps the sums below far from overflow
  FC_CHECK(p.in[axis] < kHuge && p.window[axis] < kHuge / p.step[axis] && p.stride[axis] < kHuge, op,
           ": extents along ", name, " are above 2^40");
  const int64_t reach = p.step[axis] * (p.window[axis] - 1) + 1;
  for (int64_t pad : {p.pad_low[axis], p.pad_high[axis]})
    FC_CHECK(pad >= 0 && pad <= reach / 2, op, ": pad should be at most half of effective kernel size, got ",
             pad, " along ", name, " for a window that reaches over ", reach, " cells, expected 0 to ",
             reach / 2);
}

}  // namespace

PoolProblem::PoolProblem(const char* op, int spatial_axes, const Dims& x, const PoolGeometry& g, DType type)
    : spatial(spatial_axes), dtype(type) {
  adaptive = g.adaptive;
  FC_CHECK(x.n == spatial + 2, op, ": expected ", spatial + 1, "D (unbatched) or ", spatial + 2,
           "D (batched) input, got shape ", to_string(x));
  FC_CHECK(g.window.n == spatial, op, ": ", adaptive ? "output_size" : "kernel_size", " needs ", spatial,
           " numbers, got ", to_string(g.window));
  N = x[0];
  C = x[1];
  for (int i = 0; i < 3; ++i) {
    const int axis = i - (3 - spatial);  // index into the user's lists
    const bool unit = axis < 0;
    in[i] = unit ? 1 : x[axis + 2];
    stride[i] = step[i] = window[i] = out[i] = 1;
    pad_low[i] = pad_high[i] = 0;
    if (unit) continue;
    FC_CHECK(in[i] > 0, op, ": input ", to_string(x), " has ", kAxisNames[i],
             " 0, expected at least 1 (the batch and the channels may be empty)");
    if (adaptive) {
      out[i] = g.window[axis];
      FC_CHECK(out[i] >= 0, op, ": output_size along ", kAxisNames[i], " is ", out[i],
               ", expected 0 or more");
      for (int64_t o = 0; o < out[i]; ++o) window[i] = std::max(window[i], span(i, o).taps);
      continue;
    }
    window[i] = g.window[axis];
    stride[i] = g.stride[axis];
    step[i] = g.dilation[axis];
    pad_low[i] = g.pad_low[axis];
    pad_high[i] = g.pad_high[axis];
    check_axis(op, *this, i);
    out[i] = window_count(*this, i, g.ceil_mode);
    FC_CHECK(out[i] > 0, op, ": kernel ", kAxisNames[i], " (", step[i] * (window[i] - 1) + 1,
             step[i] > 1 ? " with dilation" : "", ") is larger than the padded input: got input ", in[i],
             " + padding ", pad_low[i] + pad_high[i],
             "; use kernel_size<=", (in[i] + pad_low[i] + pad_high[i] - 1) / step[i] + 1, " or more padding");
  }
}

Dims PoolProblem::input_shape() const {
  Dims shape{N, C};
  for (int i = 3 - spatial; i < 3; ++i) shape.push_back(in[i]);
  return shape;
}
Dims PoolProblem::output_shape() const {
  Dims shape{N, C};
  for (int i = 3 - spatial; i < 3; ++i) shape.push_back(out[i]);
  return shape;
}

std::vector<PoolSpan> PoolProblem::spans(int axis) const {
  std::vector<PoolSpan> list;
  list.reserve(size_t(out[axis]));
  for (int64_t o = 0; o < out[axis]; ++o) list.push_back(span(axis, o));
  return list;
}

PoolProblem::Hits PoolProblem::hits(int axis) const {
  Hits hits;
  hits.begin.assign(size_t(in[axis]) + 1, 0);
  const std::vector<PoolSpan> list = spans(axis);
  const auto each = [&](auto&& f) {
    for (size_t o = 0; o < list.size(); ++o)
      for (int64_t t = 0; t < list[o].taps; ++t)
        f(size_t(list[o].first + t * step[axis]), PoolHit{int64_t(o), list[o].tap + t});
  };
  each([&](size_t i, PoolHit) { ++hits.begin[i + 1]; });
  for (size_t i = 0; i < size_t(in[axis]); ++i) hits.begin[i + 1] += hits.begin[i];
  hits.list.resize(size_t(hits.begin.back()));
  std::vector<int64_t> next(hits.begin.begin(), hits.begin.end() - 1);
  each([&](size_t i, PoolHit hit) { hits.list[size_t(next[i]++)] = hit; });
  return hits;
}

}  // namespace fastcnn
