// The convolution problem: the currency that ops, algorithms, planner, tests and benchmarks exchange.
// 1-D and 2-D convolutions are the 3-D problem with unit extents. Built and validated in one constructor, which
// owns the only formula for output sizes.
//
//   y[n,k,o,p,q] = act( bias[k] + scale[k] * sum_{c,t,r,s} w[k,c,t,r,s] * pre(x[n, g*C/G + c, o*stride+t*dilation-pad, ...]) )
//
// x (N,C,D,H,W), w (K,C/G,T,R,S), y (N,K,O,P,Q); it is cross-correlation, as everywhere in deep learning.
#pragma once

#include <cmath>
#include <string>

#include "common/host_device.h"
#include "common/pointwise_ops.h"
#include "common/tensor.h"

namespace fastcnn {

enum class Pass : uint8_t { forward, backward_input, backward_weight };
const char* name_of(Pass pass);

/// What lies outside of x: zeros, or x itself mirrored, clamped to its edge, or repeated.
enum class PadMode : uint8_t { zeros, reflect, replicate, circular };
PadMode parse_pad_mode(const std::string& name);

/// Applied to x on load: the previous layer's normalisation and activation. Padding stays zero.
struct ConvPrologue {
  bool scale_shift = false;        ///< x * scale[c] + shift[c]
  Unary activation = Unary::copy;  ///< copy (none) or relu
  bool empty() const { return !scale_shift && activation == Unary::copy; }
};
/// Applied to y before it is stored, in this order.
struct ConvEpilogue {
  bool scale = false;              ///< * scale[k]: batch norm by given statistics; with a bias only
  bool bias = false;               ///< + bias[k]
  bool residual = false;           ///< + residual[n,k,o,p,q]
  Unary activation = Unary::copy;  ///< copy (none), relu or relu6
  bool empty() const { return !bias && !residual && activation == Unary::copy; }
  /// The activation is min(high, max(low, y)); NaN stays.
  float low() const { return activation == Unary::copy ? -INFINITY : 0.0f; }
  float high() const { return activation == Unary::relu6 ? 6.0f : INFINITY; }
};

struct ConvGeometry {
  Dims stride, dilation, pad_low, pad_high;  ///< one entry per spatial axis (1 to 3 of them)
  int64_t groups = 1;
  PadMode pad_mode = PadMode::zeros;
};

struct ConvProblem {
  int64_t N, C, K, G;
  // Per axis: 0 = depth, 1 = height, 2 = width.
  int64_t in[3], filter[3], out[3];
  int64_t stride[3], dilation[3], pad_low[3], pad_high[3];
  PadMode pad_mode = PadMode::zeros;
  DType dtype = DType::float32;
  int spatial = 2;  ///< how many axes the user's tensors have
  /// The next calls have these filters, too: what is made of them is kept. Costs are the same for
  /// every forward call: bits do not depend on whether it is recorded.
  bool reuses_filters = false;
  ConvPrologue prologue;
  ConvEpilogue epilogue;

  /// Validates everything; `op` ("conv2d") begins the messages. x has 1 to 3 spatial axes, weight the same.
  ConvProblem(const char* op, const Dims& x, const Dims& weight, const ConvGeometry& geometry, DType dtype);

  Dims output_shape() const;  ///< with the user's number of axes
  Dims input_shape() const;
  Dims weight_shape() const;
  int64_t channels_per_group() const { return C / G; }  ///< of x
  int64_t filters_per_group() const { return K / G; }
  int64_t taps() const { return filter[0] * filter[1] * filter[2]; }
  int64_t in_pixels() const { return in[0] * in[1] * in[2]; }
  int64_t out_pixels() const { return out[0] * out[1] * out[2]; }
  /// Multiply-adds of any pass times 2, padding taps counted (as benchdnn does not, and cuDNN does).
  double flops() const {
    return 2.0 * double(N) * double(K) * double(out_pixels()) * double(C / G) * double(taps());
  }
  bool is_depthwise() const { return C == G && G > 1; }
  /// "mb8ic64ih56oc64kh3ph1"-like text for messages and logs.
  std::string describe() const;
};

/// Input coordinate of output position `o` and tap `t`, or -1 where padding is zero. Shared by every algorithm.
FC_BOTH int64_t conv_input_index(int64_t o, int64_t t, int64_t stride, int64_t dilation, int64_t pad_low,
                                 int64_t extent, PadMode mode) {
  const int64_t i = o * stride + t * dilation - pad_low;
  if (i >= 0 && i < extent) return i;
  switch (mode) {
    case PadMode::zeros: return -1;
    case PadMode::replicate: return i < 0 ? 0 : extent - 1;
    case PadMode::reflect: return i < 0 ? -i : 2 * (extent - 1) - i;
    default: return i < 0 ? i + extent : i - extent;
  }
}

/// The inverse: how many output positions read input cell `i` of one axis through tap `t`; `o` becomes the which-th of
/// them. They are found at the cell itself and, beyond the edges, at its images under the padding mode.
FC_BOTH int64_t conv_output_source(int64_t i, int64_t t, int64_t stride, int64_t dilation, int64_t pad_low,
                                   int64_t pad_high, int64_t in, int64_t out, PadMode mode, int64_t which,
                                   int64_t& o) {
  // Images of cell i lie at first, first + step, ... (`images` of them), in cells counted from cell 0.
  int64_t count = 0;
  for (int side = 0; side < 3; ++side) {
    int64_t first = i, images = 1, step = 1;
    if (side) {
      const bool low = side == 1;
      if (mode == PadMode::reflect) {
        first = low ? -i : 2 * (in - 1) - i;
        images = low ? i >= 1 && i <= pad_low : i <= in - 2 && in - 1 - i <= pad_high;
      } else if (mode == PadMode::circular) {
        first = low ? i - in : i + in;
        images = low ? i - in >= -pad_low : i < pad_high;
      } else if (mode == PadMode::replicate) {
        first = low ? -1 : in;
        step = low ? -1 : 1;
        images = low ? (i == 0 ? pad_low : 0) : (i == in - 1 ? pad_high : 0);
      } else {
        images = 0;
      }
    }
    for (int64_t n = 0; n < images; ++n, first += step) {
      const int64_t at = first + pad_low - t * dilation;
      if (at < 0 || at % stride || at / stride >= out) continue;
      if (count++ == which) o = at / stride;
    }
  }
  return count;
}

/// floor((in + pad_low + pad_high - dilation*(filter-1) - 1) / stride) + 1; may be <= 0 (the caller's error).
int64_t conv_output_extent(int64_t in, int64_t filter, int64_t stride, int64_t dilation, int64_t pad_low,
                           int64_t pad_high);

/// Padding by name: "same" is TensorFlow's rule at any stride (out = ceil(in / stride), the odd cell at the end),
/// "same_lower" puts the odd cell at the beginning, "valid" is no padding.
void named_padding(const std::string& name, int64_t in, int64_t filter, int64_t stride, int64_t dilation,
                   int64_t& pad_low, int64_t& pad_high);

}  // namespace fastcnn
