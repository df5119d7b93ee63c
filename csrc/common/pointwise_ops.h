// The pointwise ops by name. No std:: here: kernels compiled per instruction set include this file.
#pragma once

#include <stdint.h>

namespace fastcnn {

// clang-format off: lists of words
/// Pointwise functions of one operand and two parameters (p0, p1); formulas in pointwise_formulas.inl.
enum class Unary : uint8_t {
  copy, neg, abs, sign, exp, expm1, log, log1p, sqrt, rsqrt, reciprocal, square, sin, cos, erf, floor, ceil, round,
  isfinite, isnan, isinf, logical_not, fill, clamp, pow_scalar, add_scalar, mul_scalar, div_scalar,
  relu, relu6, leaky_relu, elu, selu, celu, gelu, gelu_tanh, sigmoid, tanh, silu, mish, softplus, softsign,
  hardtanh, hardswish, hardsigmoid, hardshrink, softshrink, tanhshrink, logsigmoid, threshold,
  count
};
/// Functions of two operands; the `*_backward` rows take (dy, x) or, where said, (dy, y).
enum class Binary : uint8_t {
  add, sub, mul, div, pow, maximum, minimum, eq, ne, lt, le, gt, ge, logical_and, logical_or, logical_xor,
  relu_backward, relu6_backward, leaky_relu_backward, elu_backward, selu_backward, celu_backward, gelu_backward,
  gelu_tanh_backward, sigmoid_backward, tanh_backward, silu_backward, mish_backward, softplus_backward,
  softsign_backward, hardtanh_backward, hardswish_backward, hardsigmoid_backward, hardshrink_backward,
  softshrink_backward, tanhshrink_backward, logsigmoid_backward, threshold_backward, prelu, axpy,
  count
};
// clang-format on

}  // namespace fastcnn
