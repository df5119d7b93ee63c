// The product at the bottom of linear layers and matmul: C[b] = A[b] * B[b] + bias for a batch of matrices.
// A and B are read through any strides (0 repeats an operand along the batch); C is dense, (batch..., m, n).
#pragma once

#include "common/tensor.h"

namespace fastcnn {

struct GemmOperand {
  const void* data = nullptr;
  int64_t row = 0, col = 0;      ///< strides in elements
  int64_t batch[kMaxDims] = {};  ///< per batch axis
};

struct GemmParams {
  DType dtype = DType::float32;
  int64_t m = 0, n = 0, k = 0;
  int batch_ndim = 0;
  int64_t batch_shape[kMaxDims] = {};
  GemmOperand a, b;  ///< (m, k) and (k, n)
  void* c = nullptr;
  const void* bias = nullptr;  ///< [n] of the same dtype, added last; nullptr: none
  int64_t bias_stride = 0;
  void* workspace = nullptr;  ///< what the device's workspace function asks for
  int threads = 1;            ///< that the workspace was planned for

  int64_t batch() const {
    int64_t count = 1;
    for (int i = 0; i < batch_ndim; ++i) count *= batch_shape[i];
    return count;
  }
};

}  // namespace fastcnn
