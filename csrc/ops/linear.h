// Linear layers and matrix products.
#pragma once

#include <optional>

#include "ops/context.h"

namespace fastcnn::ops {

/// (..., m, k) x (..., k, n) -> (..., m, n): axes in front broadcast. Any number type; no copies for any strides.
/// `op` begins the messages and names the memory.
Tensor matmul(const char* op, const Tensor& a, const Tensor& b);
/// x (..., C) times weight (K, C) transposed, plus bias (K,) -> (..., K).
Tensor linear(const Tensor& x, const Tensor& weight, const std::optional<Tensor>& bias);

}  // namespace fastcnn::ops
