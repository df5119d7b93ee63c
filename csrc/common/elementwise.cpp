#include "common/elementwise.h"

#include <algorithm>

namespace fastcnn {

namespace {

// clang-format off: lists of words
constexpr const char* kUnaryNames[] = {
    "copy", "neg", "abs", "sign", "exp", "expm1", "log", "log1p", "sqrt", "rsqrt", "reciprocal", "square", "sin",
    "cos", "erf", "floor", "ceil", "round", "isfinite", "isnan", "isinf", "logical_not", "fill", "clamp",
    "pow_scalar", "add_scalar", "mul_scalar", "div_scalar", "relu", "relu6", "leaky_relu", "elu", "selu", "celu",
    "gelu", "gelu_tanh", "sigmoid", "tanh", "silu", "mish", "softplus", "softsign", "hardtanh", "hardswish",
    "hardsigmoid", "hardshrink", "softshrink", "tanhshrink", "logsigmoid", "threshold"};
constexpr const char* kBinaryNames[] = {
    "add", "sub", "mul", "div", "pow", "maximum", "minimum", "eq", "ne", "lt", "le", "gt", "ge", "logical_and",
    "logical_or", "logical_xor", "relu_backward", "relu6_backward", "leaky_relu_backward", "elu_backward",
    "selu_backward", "celu_backward", "gelu_backward", "gelu_tanh_backward", "sigmoid_backward", "tanh_backward",
    "silu_backward", "mish_backward", "softplus_backward", "softsign_backward", "hardtanh_backward",
    "hardswish_backward", "hardsigmoid_backward", "hardshrink_backward", "softshrink_backward",
    "tanhshrink_backward", "logsigmoid_backward", "threshold_backward", "prelu", "axpy"};
// clang-format on
static_assert(std::size(kUnaryNames) == size_t(Unary::count));
static_assert(std::size(kBinaryNames) == size_t(Binary::count));

template <class Op, size_t Count>
Op parse(const char* const (&names)[Count], const std::string& name, const char* kind) {
  for (size_t i = 0; i < Count; ++i)
    if (name == names[i]) return Op(i);
  std::string known;
  for (const char* n : names) known += std::string(known.empty() ? "" : ", ") + n;
  fail<ValueError>("elementwise: unknown ", kind, " op, got '", name, "', expected one of ", known);
}

}  // namespace

const char* name_of(Unary op) { return kUnaryNames[size_t(op)]; }
const char* name_of(Binary op) { return kBinaryNames[size_t(op)]; }
Unary parse_unary(const std::string& name) { return parse<Unary>(kUnaryNames, name, "unary"); }
Binary parse_binary(const std::string& name) { return parse<Binary>(kBinaryNames, name, "binary"); }

namespace {
// What messages call it: a number on the right is no op of its own.
const char* public_name(Unary op) {
  switch (op) {
    case Unary::add_scalar: return "add";
    case Unary::mul_scalar: return "mul";
    case Unary::div_scalar: return "div";
    case Unary::pow_scalar: return "pow";
    default: return name_of(op);
  }
}
}  // namespace

void check_dtype(Unary op, DType dtype) {
  const bool any = op == Unary::copy || op == Unary::fill || op == Unary::logical_not ||
                   (op >= Unary::isfinite && op <= Unary::isinf);
  const bool number = op == Unary::neg || op == Unary::abs || op == Unary::sign || op == Unary::square ||
                      op == Unary::clamp || op == Unary::add_scalar || op == Unary::mul_scalar ||
                      op == Unary::relu;
  if (any || (number && dtype != DType::boolean)) return;
  dispatch_float(dtype, public_name(op), [](auto) {});
}

void check_dtype(Binary op, DType dtype) {
  const bool any = op >= Binary::eq && op <= Binary::logical_xor;
  const bool number = op <= Binary::mul || op == Binary::maximum || op == Binary::minimum;
  if (any || (number && dtype != DType::boolean)) return;
  dispatch_float(dtype, name_of(op), [](auto) {});
}

Loop make_loop(std::initializer_list<const Tensor*> operands) {
  Loop loop;
  const Tensor& first = **operands.begin();
  loop.numel = first.numel();
  int order[kMaxDims], axes = 0;
  for (int i = 0; i < first.ndim(); ++i)
    if (first.shape[i] != 1) order[axes++] = i;
  std::stable_sort(order, order + axes,
                   [&](int a, int b) { return std::abs(first.strides[a]) > std::abs(first.strides[b]); });
  for (const Tensor* t : operands) {
    loop.data[loop.operands] = t->raw();
    loop.dtype[loop.operands] = t->dtype;
    ++loop.operands;
  }
  for (int i = 0; i < axes; ++i) {
    const int axis = order[i];
    // Merge with the axis outside if, for every operand, stepping there equals finishing this axis.
    bool merge = loop.ndim > 0;
    int k = 0;
    for (const Tensor* t : operands) {
      merge = merge && loop.strides[k][loop.ndim - 1] == t->strides[axis] * t->shape[axis];
      ++k;
    }
    const int slot = merge ? loop.ndim - 1 : loop.ndim++;
    loop.shape[slot] = merge ? loop.shape[slot] * first.shape[axis] : first.shape[axis];
    k = 0;
    for (const Tensor* t : operands) loop.strides[k++][slot] = t->strides[axis];
  }
  if (loop.ndim == 0) {  // a single element
    loop.ndim = 1;
    loop.shape[0] = 1;
  }
  return loop;
}

}  // namespace fastcnn
