// Sums of float32 rows, one table per instruction set.
#pragma once

#include <stdint.h>

namespace fastcnn::cpu {

struct ReduceKernels {
  /// sum[j] = ((0 + x[0][j]) + x[1][j]) + ... over `rows` rows `stride` elements apart, for j < width. One order of
  /// additions for each column, so every ISA gives the same bits.
  void (*sum_rows)(const float* x, int64_t rows, int64_t stride, int64_t width, float* sum);
  /// y[l * y_line + i * y_step + j] += z[l * z_line + i * z_step + j] for j < width, runs i from 0 up, which may overlap
  /// in y; lines l do not.
  void (*add_runs)(float* y, int64_t y_line, int64_t y_step, const float* z, int64_t z_line, int64_t z_step,
                   int64_t lines, int64_t runs, int64_t width);
};

}  // namespace fastcnn::cpu
