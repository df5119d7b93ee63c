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
/// y = condition ? a : b
struct WhereParams {
  Loop loop;  ///< y, condition (bool), a, b
};

}  // namespace fastcnn
