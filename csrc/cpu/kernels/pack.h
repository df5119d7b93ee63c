// Copies into the layouts that the GEMM kernel reads.
#pragma once

#include <stdint.h>

namespace fastcnn::cpu {

struct PackKernels {
  /// dst[p * dst_row + j] = src[p * row + j * col] for p < k, j < n; columns n .. dst_cols-1 become zero.
  void (*matrix)(const float* src, int64_t row, int64_t col, int64_t k, int64_t n, float* dst,
                 int64_t dst_row, int64_t dst_cols);
};

}  // namespace fastcnn::cpu
