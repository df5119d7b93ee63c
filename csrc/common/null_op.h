// Parameters of null_op, the template to copy when you add an op: plain extents and pointers, no Tensor.
#pragma once

#include "common/dtype.h"

namespace fastcnn {

/// y[i] = scale * x[i] for dense x and y of one memory order.
struct NullOpParams {
  const void* x;  ///< count elements
  void* y;        ///< count elements
  int64_t count;
  double scale;
  DType dtype;
};

}  // namespace fastcnn
