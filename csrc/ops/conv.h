// Convolution: check -> plan -> allocate -> run, for the three passes. Outputs are channels_last.
#pragma once

#include <optional>

#include "common/algo.h"
#include "ops/context.h"

namespace fastcnn::ops {

using MaybeTensor = std::optional<Tensor>;

/// Batch norm by given statistics, which multiplies and shifts each channel of y: (channels,) each.
struct ConvNorm {
  Tensor mean, var;
  MaybeTensor weight, bias;
  double eps = 0;
};

/// What may be fused into a forward call (csrc/common/conv_problem.h).
struct ConvFusion {
  MaybeTensor bias, residual, scale, shift;
  Unary prologue_activation = Unary::copy, epilogue_activation = Unary::copy;
  std::optional<ConvNorm> norm = {};  ///< behind the bias, before the residual
};

/// With `reuse`, filters are expected to stay as they are for some calls: what an algorithm makes of them is kept with
/// w until w changes. Without, nothing is kept any longer.
Tensor conv_forward(const char* op, const Tensor& x, const Tensor& w, const ConvFusion& fusion,
                    const ConvGeometry& geometry, const AlgoRequest& request, bool reuse = false);
/// Without, calls of this thread neither keep anything nor free what is kept: for probing. Returns the setting before.
bool set_keeps_filters(bool keeps);
/// Gradient of the (prologue-transformed) input of shape `x_shape`.
Tensor conv_backward_input(const char* op, const Dims& x_shape, const Tensor& w, const Tensor& dy,
                           const ConvGeometry& geometry, const AlgoRequest& request);
/// Gradient of the weight, in row-major (K, C/G, ...) memory; x is read through the prologue of `fusion`.
Tensor conv_backward_weight(const char* op, const Tensor& x, const Dims& w_shape, const Tensor& dy,
                            const ConvGeometry& geometry, const AlgoRequest& request,
                            const ConvFusion& fusion = {});
/// Both gradients (either may be left out): the one entry, so that an algorithm may share work between them.
struct ConvGradients {
  MaybeTensor dx, dw;
};
ConvGradients conv_backward(const char* op, const Tensor& x, const Tensor& w, const Tensor& dy,
                            const ConvGeometry& geometry, const AlgoRequest& input_request,
                            const AlgoRequest& weight_request, bool want_dx, bool want_dw);

/// Every row's verdict on a problem, in table order, with the one that `request` would choose. A bias may need
/// workspace of its own.
std::vector<ConvRow> conv_rows(const Dims& x_shape, const Dims& w_shape, const ConvGeometry& geometry,
                               Pass pass, DType dtype, Device device, const AlgoRequest& request, bool bias,
                               bool reuse = false);

}  // namespace fastcnn::ops
