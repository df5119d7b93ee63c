// The pooling problem: windows over (N, C, D, H, W), 1-D and 2-D being the 3-D one with unit extents. Built and
// validated in one constructor, which owns the formula for output sizes. Adaptive pooling is the same problem with
// windows that differ in length.
#pragma once

#include <vector>

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

struct PoolProblem {
  int64_t N, C;
  // Per axis: 0 = depth, 1 = height, 2 = width.
  int64_t in[3], out[3], window[3], stride[3], step[3], pad_low[3], pad_high[3];
  int spatial;
  bool adaptive;
  DType dtype;

  /// `op` ("max_pool2d") begins the messages. x has `spatial` axes after (N, C).
  PoolProblem(const char* op, int spatial, const Dims& x, const PoolGeometry& geometry, DType dtype);

  Dims input_shape() const;
  Dims output_shape() const;
  int64_t taps() const { return window[0] * window[1] * window[2]; }
  /// What a window position (t * window[1] + r) * window[2] + s is kept in for the backward pass. With a ReLU in front
  /// one more code says that no gradient passes: -1, as uint8 255.
  DType tap_dtype(bool relu) const { return taps() + relu <= 256 ? DType::uint8 : DType::int32; }

  PoolSpan span(int axis, int64_t o) const;
  std::vector<PoolSpan> spans(int axis) const;
  /// The inverse of spans: hits of input cell i are list[begin[i]] .. list[begin[i + 1] - 1], in order of output.
  struct Hits {
    std::vector<int64_t> begin;
    std::vector<PoolHit> list;
  };
  Hits hits(int axis) const;
};

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
