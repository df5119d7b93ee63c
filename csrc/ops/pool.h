// Max and average pooling, plain and adaptive, in 1 to 3 dimensions. Outputs have channels_last memory.
#pragma once

#include <optional>
#include <utility>

#include "common/pool_problem.h"

namespace fastcnn::ops {

/// (y, positions of the winners in their windows): uint8, int32 above 256 cells; without `want_taps` an empty
/// second. `relu`: of max(x, 0).
std::pair<Tensor, std::optional<Tensor>> max_pool_forward(const char* op, const Tensor& x,
                                                          const PoolGeometry& geometry, bool want_taps,
                                                          bool relu);
/// int64 offsets of the winners in the plane of their channel.
Tensor max_pool_indices(const char* op, const Dims& x_shape, const Tensor& taps,
                        const PoolGeometry& geometry);
/// dx from dy and the positions.
Tensor max_pool_backward(const char* op, const Dims& x_shape, const Tensor& taps, const Tensor& dy,
                         const PoolGeometry& geometry);
/// The elements of x that won, for gradients of gradients.
Tensor max_pool_gather(const char* op, const Tensor& x, const Tensor& taps, const PoolGeometry& geometry);

/// `divisor` 0: the number of cells, padding included if `include_padding`.
Tensor avg_pool_forward(const char* op, const Tensor& x, const PoolGeometry& geometry, bool include_padding,
                        double divisor);
Tensor avg_pool_backward(const char* op, const Dims& x_shape, const Tensor& dy, const PoolGeometry& geometry,
                         bool include_padding, double divisor);

}  // namespace fastcnn::ops
