// Sums of float32 rows, one table per instruction set.
#pragma once

#include <stdint.h>

namespace fastcnn::cpu {

struct ReduceKernels {
  /// sum[j] = ((0 + x[0][j]) + x[1][j]) + ... over `rows` rows `stride` elements apart, for j < width. One order of
  /// additions for each column, so every ISA gives the same bits.
  void (*sum_rows)(const float* x, int64_t rows, int64_t stride, int64_t width, float* sum);
};

}  // namespace fastcnn::cpu
