// Dropout and DropConnect. Backward draws the same mask again from the same key: nothing is saved.
#pragma once

#include "common/dropout.h"
#include "ops/context.h"

namespace fastcnn::ops {

/// y = keep ? x * scale + shift : dropped. `mask_shape`: x's rank, each extent x's or 1. p in [0, 1].
Tensor dropout(const char* op, const Tensor& x, const Dims& mask_shape, double p, double scale, double shift,
               double dropped, const RandomKey& key);

/// x (N, in), w (out, in) -> (N, out); survivors scaled by 1/(1-p).
Tensor drop_connect_forward(const Tensor& x, const Tensor& w, double p, const RandomKey& key);
Tensor drop_connect_backward_input(const Tensor& w, const Tensor& dy, double p, const RandomKey& key);
Tensor drop_connect_backward_weight(const Tensor& x, const Tensor& dy, double p, const RandomKey& key);

}  // namespace fastcnn::ops
