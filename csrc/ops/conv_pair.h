// Two convolutions in one call.
#pragma once

#include "ops/conv.h"

namespace fastcnn::ops {

/// A convolution, batch norm by given statistics and an activation.
struct ConvStage {
  Tensor w;
  MaybeTensor bias;
  ConvNorm norm;
  Unary activation = Unary::copy;
  ConvGeometry geometry;
  AlgoRequest request;
};

/// depthwise(expand(x)), filters kept as in conv_forward. Where the device knows how, in one pass that never has the
/// tensor between the two as a whole; else as two calls. Either way the same values.
Tensor conv_expand_depthwise(const char* op, const Tensor& x, const ConvStage& expand,
                             const ConvStage& depthwise);

}  // namespace fastcnn::ops
