// Parameters of elementwise kernels: one loop nest over up to four operands (operand 0 is the output).
#pragma once

#include "common/pointwise_ops.h"
#include "common/tensor.h"

namespace fastcnn {

const char* name_of(Unary op);
const char* name_of(Binary op);
/// TypeError unless the op is defined for this dtype.
void check_dtype(Unary op, DType dtype);
void check_dtype(Binary op, DType dtype);
/// ValueError with the known names when there is no such op.
Unary parse_unary(const std::string& name);
Binary parse_binary(const std::string& name);

/// Loop nest: shape outermost first, axes merged where every operand allows it, innermost axis last.
struct Loop {
  int operands = 0;
  int ndim = 0;
  int64_t shape[kMaxDims] = {};
  int64_t strides[4][kMaxDims] = {};  ///< per operand, in elements
  void* data[4] = {};
  DType dtype[4] = {};
  int64_t numel = 0;
};
/// All operands must have operand 0's shape (expand first). Axes are ordered by operand 0's memory.
Loop make_loop(std::initializer_list<const Tensor*> operands);

struct UnaryParams {
  Unary op;
  double p0, p1;
  Loop loop;  ///< y, x
};
struct BinaryParams {
  Binary op;
  double p0, p1;
  Loop loop;               ///< y, a, b
  int scalar_operand = 0;  ///< 1 or 2: that operand is the value below (stride 0), not memory
  alignas(8) unsigned char scalar[8] = {};
};
/// One bit per element of y (dense, `count` elements): whether the slope at this output is 1. Bit i is bit i % 8 of byte
/// i / 8; the last byte is filled up with zeros.
struct PackMaskParams {
  Binary op;  ///< the gradient of relu, relu6, hardtanh or leaky_relu
  double p0, p1;
  DType dtype;
  const void* y;
  int64_t count;
  uint8_t* bits;
};
/// dx = bit ? dy : 0 (or dy * p0 for leaky_relu).
struct ApplyMaskParams {
  Binary op;
  double p0;
  Loop loop;  ///< dx (dense; its memory order is that of the bits), dy
  const uint8_t* bits;
};
/// y = condition ? a : b
struct WhereParams {
  Loop loop;  ///< y, condition (bool), a, b
};

}  // namespace fastcnn
