// Copies into the layouts that the GEMM kernel reads.
#pragma once

#include <stdint.h>

namespace fastcnn::cpu {

struct PackKernels {
  /// dst[p * dst_row + j] = src[p * row + j * col] for p < k, j < n; columns n .. dst_cols-1 become zero.
  void (*matrix)(const float* src, int64_t row, int64_t col, int64_t k, int64_t n, float* dst,
                 int64_t dst_row, int64_t dst_cols);
  /// Filters [n][channels][taps] with `filter` elements from one to the next, channels first .. last-1:
  /// dst[(tap * channels + c) * nr + j] = src[j * filter + c * taps + tap]; columns n .. nr-1 become zero.
  void (*filter)(const float* src, int64_t filter, int64_t n, int64_t taps, int64_t channels, int64_t first,
                 int64_t last, float* dst, int64_t nr);
};

}  // namespace fastcnn::cpu
