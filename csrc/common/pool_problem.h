// The pooling problem: windows over (N, C, D, H, W), 1-D and 2-D being the 3-D one with unit extents. Built and
// validated in one constructor, which owns the formula for output sizes. Adaptive pooling is the same problem with
// windows that differ in length.
#pragma once

#include <vector>

#include "common/host_device.h"
#include "common/tensor.h"

namespace fastcnn {

struct PoolGeometry {
  Dims window;  ///< one entry per spatial axis; for adaptive pooling the output size
  Dims stride, dilation, pad_low, pad_high;  ///< unused by adaptive pooling
  bool ceil_mode = false;
  bool adaptive = false;
};

/// The input cells of one axis that an output position looks at: first, first + step, ... (`taps` of them).
struct PoolSpan {
  int64_t first;
  int64_t taps;    ///< cells inside the input; 0 if the window lies in the padding
  int64_t tap;     ///< window position of the first of them
  int64_t length;  ///< cells of the window that count as input or padding, for the average
};
/// One output position that looks at an input cell, and with which window position.
struct PoolHit {
  int64_t out, tap;
};

/// The numbers alone, as kernels take them. Per axis: 0 = depth, 1 = height, 2 = width.
struct PoolWindows {
  int64_t N, C;
  int64_t in[3], out[3], window[3], stride[3], step[3], pad_low[3], pad_high[3];
  bool adaptive;

  FC_BOTH PoolSpan span(int axis, int64_t o) const;
  /// The first and the last output position that may look at input cell i; last < first if none does.
  FC_BOTH void readers(int axis, int64_t i, int64_t& first, int64_t& last) const;
  /// The window position with which output position o looks at input cell i; -1 if it does not.
  FC_BOTH int64_t tap_of(int axis, int64_t i, int64_t o) const;
};

struct PoolProblem : PoolWindows {
  int spatial;
  DType dtype;

  /// `op` ("max_pool2d") begins the messages. x has `spatial` axes after (N, C).
  PoolProblem(const char* op, int spatial, const Dims& x, const PoolGeometry& geometry, DType dtype);

  Dims input_shape() const;
  Dims output_shape() const;
  int64_t taps() const { return window[0] * window[1] * window[2]; }
  /// What a window position (t * window[1] + r) * window[2] + s is kept in for the backward pass. With a ReLU in front
  /// one more code says that no gradient passes: -1, as uint8 255.
  DType tap_dtype(bool relu) const { return taps() + relu <= 256 ? DType::uint8 : DType::int32; }

  std::vector<PoolSpan> spans(int axis) const;
  /// The inverse of spans: hits of input cell i are list[begin[i]] .. list[begin[i + 1] - 1], in order of output.
  struct Hits {
    std::vector<int64_t> begin;
    std::vector<PoolHit> list;
  };
  Hits hits(int axis) const;
};

FC_BOTH PoolSpan PoolWindows::span(int axis, int64_t o) const {
  const int64_t n = in[axis];
  if (adaptive) {
    // floor(o * n / out) .. ceil((o + 1) * n / out), without the overflow of o * n for long axes
    const int64_t whole = n / out[axis], rest = n % out[axis];
    const int64_t first = o * whole + o * rest / out[axis];
    const int64_t end = (o + 1) * whole + ((o + 1) * rest + out[axis] - 1) / out[axis];
    return {first, end - first, 0, end - first};
  }
  const int64_t start = o * stride[axis] - pad_low[axis], d = step[axis];
  const int64_t tap = start < 0 ? (-start + d - 1) / d : 0;
  const int64_t fit = start < n ? (n - start + d - 1) / d : 0;  // positions below the input's end
  const int64_t end = start + window[axis], edge = n + pad_high[axis];
  const int64_t taps = (window[axis] < fit ? window[axis] : fit) - tap;
  return {start + tap * d, taps > 0 ? taps : 0, tap, (end < edge ? end : edge) - start};
}
FC_BOTH void PoolWindows::readers(int axis, int64_t i, int64_t& first, int64_t& last) const {
  if (adaptive) {  // windows begin at floor(o * in / out) and end before ceil((o + 1) * in / out)
    first = i * out[axis] / in[axis];
    last = ((i + 1) * out[axis] - 1) / in[axis];
  } else {
    const int64_t at = i + pad_low[axis], reach = (window[axis] - 1) * step[axis];
    first = at > reach ? (at - reach + stride[axis] - 1) / stride[axis] : 0;
    last = at / stride[axis];
  }
  if (last > out[axis] - 1) last = out[axis] - 1;
}
FC_BOTH int64_t PoolWindows::tap_of(int axis, int64_t i, int64_t o) const {
  if (adaptive) {
    const PoolSpan s = span(axis, o);
    return i >= s.first && i < s.first + s.taps ? i - s.first : -1;
  }
  const int64_t past = i + pad_low[axis] - o * stride[axis];
  return past >= 0 && past % step[axis] == 0 && past / step[axis] < window[axis] ? past / step[axis] : -1;
}

/// All tensors are dense in the order n, d, h, w, channel.
struct PoolParams {
  const PoolProblem* problem;
  const void* x;         ///< max forward, avg forward: input; gather: values to pick, of x's shape
  void* y;               ///< forward: output; gather: picked values; indices: int64
  void* tap;             ///< max: window positions; nullptr if nobody wants them
  DType tap_dtype;       ///< uint8 or int32
  const void* dy;        ///< backward
  void* dx;              ///< backward
  bool relu;             ///< max forward: of max(x, 0)
  bool include_padding;  ///< avg: padding counts as cells
  double divisor;        ///< avg: instead of the number of cells; 0 for that number
};

}  // namespace fastcnn
