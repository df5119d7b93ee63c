// Interpolation and padding along one axis; see common/axis_map.h.
#pragma once

#include "common/axis_map.h"

namespace fastcnn::ops {

/// Applies the map (or its transpose) along `axis` of (N, C, ...). The result has channels_last memory for ranks 3
/// to 5.
Tensor axis_map(const char* op, const Tensor& x, int axis, const AxisMap& map, bool transposed);

}  // namespace fastcnn::ops
