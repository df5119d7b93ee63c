// Batch norm by given statistics as one multiplication and one addition per channel, behind a convolution.
#pragma once

#include "common/dtype.h"

namespace fastcnn {

/// Per channel k: scale[k] = weight[k] / sqrt(var[k] + eps), shift[k] = bias[k] + (before[k] - mean[k]) * scale[k].
/// Vectors with a stride in elements; `weight`, `bias` and `before` (the convolution's own bias) may be null: 1, 0, 0.
struct NormFoldParams {
  struct Vector {
    const void* data = nullptr;
    int64_t stride = 0;
  };
  DType dtype;
  int64_t channels;
  Vector mean, var, weight, bias, before;
  double eps;
  void *scale, *shift;  ///< without gaps
};

}  // namespace fastcnn
