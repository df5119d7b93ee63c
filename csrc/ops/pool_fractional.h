// Fractional max pooling and max unpooling. Outputs have channels_last memory.
#pragma once

#include <optional>
#include <utility>

#include "common/pool_fractional.h"

namespace fastcnn::ops {

/// samples (N, C, axes) in float64, from 0 up to 1. Returns y and the positions of the winners in their windows.
std::pair<Tensor, std::optional<Tensor>> fractional_max_pool_forward(const char* op, const Tensor& x,
                                                                     const Tensor& samples,
                                                                     const Dims& window, const Dims& out,
                                                                     bool want_taps);
Tensor fractional_max_pool_indices(const char* op, const Dims& x_shape, const Tensor& samples,
                                   const Tensor& taps, const Dims& window, const Dims& out);
Tensor fractional_max_pool_backward(const char* op, const Dims& x_shape, const Tensor& samples,
                                    const Tensor& taps, const Tensor& dy, const Dims& window,
                                    const Dims& out);
Tensor fractional_max_pool_gather(const char* op, const Tensor& x, const Tensor& samples, const Tensor& taps,
                                  const Dims& window, const Dims& out);

/// x to the cells `indices` (int64) of zero planes of size `out`; among duplicates the last wins.
Tensor max_unpool_forward(const char* op, const Tensor& x, const Tensor& indices, const Dims& out);
/// dy of the cells; 0 for those that a later one overwrote.
Tensor max_unpool_backward(const char* op, const Tensor& dy, const Tensor& indices);

}  // namespace fastcnn::ops
