// Fractional max pooling (Graham 2014) and max unpooling: windows and positions that differ from channel to channel.
#pragma once

#include "common/host_device.h"
#include "common/tensor.h"

namespace fastcnn {

/// Windows of equal length at pseudo-random starts: (int)((o + u) * alpha) - (int)(u * alpha) with
/// alpha = (in - window) / (out - 1) and one u in [0, 1) per sample, channel and axis; the last window ends the axis.
struct FractionalProblem {
  int64_t N, C;
  int64_t in[3], out[3], window[3];  ///< 0 = depth, 1 = height, 2 = width; 2-D has depth 1
  int spatial;
  DType dtype;

  /// `op` begins the messages; window and out have 2 or 3 entries.
  FractionalProblem(const char* op, const Dims& x, const Dims& window, const Dims& out, DType dtype);

  Dims output_shape() const;
  FC_BOTH int64_t start(int axis, int64_t o, double u) const {
    if (o == out[axis] - 1) return in[axis] - window[axis];
    const double alpha = double(in[axis] - window[axis]) / double(out[axis] - 1);
    return int64_t((double(o) + u) * alpha) - int64_t(u * alpha);
  }
  FC_BOTH int64_t taps() const { return window[0] * window[1] * window[2]; }
  DType tap_dtype() const { return taps() <= 256 ? DType::uint8 : DType::int32; }
};

/// Tensors are dense in the order n, d, h, w, channel; samples is (N, C, spatial) in float64, dense: for three axes
/// depth, height, width, for two width, height (torch's order).
struct FractionalParams {
  enum Pass { forward, indices, gather, backward } pass;
  const FractionalProblem* problem;
  const double* samples;
  const void* x;  ///< forward, gather: input; backward: dy
  void* tap;      ///< positions in the window; forward: may be nullptr
  void* y;        ///< forward, gather: picked values; indices: int64; backward: dx
};

/// Planes of `cells`, `positions` values each with a cell; all dense with the channels innermost.
struct UnpoolParams {
  const char* op;
  DType dtype;
  bool backward;  ///< dx from dy, else y from x
  int64_t N, C, positions, cells;
  const int64_t* index;  ///< (N, positions, C)
  const void* in;        ///< x, or dy of the planes
  void* out;             ///< the planes, or dx
  uint8_t* taken;        ///< CPU, backward: one byte per element of the planes
  int32_t* last;         ///< CUDA: the last position that names each element of the planes, plus one
};

}  // namespace fastcnn
