// Rows of layer norm and RMS norm (without `center`): `rows` dense ones of n elements. mean, invstd: one number per row,
// of the accumulator type. With `stream` results pass the caches (cpu/stream.h).
#pragma once

#include <stdint.h>

namespace fastcnn::cpu {

struct RowNormKernels {
  /// y = (x - mean) * invstd * weight + bias; weight and bias may be nullptr.
  void (*forward)(void* y, const void* x, const void* weight, const void* bias, int64_t rows, int64_t n,
                  bool center, double eps, void* mean, void* invstd, bool stream);
  /// dx from dy and the saved statistics; weight may be nullptr.
  void (*backward)(void* dx, const void* x, const void* dy, const void* weight, int64_t rows, int64_t n,
                   bool center, const void* mean, const void* invstd, bool stream);
  /// db += dy, dw += dy * (x - mean) * invstd, summed over the rows
  void (*affine)(double* db, double* dw, const void* x, const void* dy, int64_t rows, int64_t n,
                 const void* mean, const void* invstd);
};

}  // namespace fastcnn::cpu
