// Rows of layer norm and RMS norm (without `center`). mean, invstd: one number each, of the accumulator type.
#pragma once

#include <stdint.h>

namespace fastcnn::cpu {

struct RowNormKernels {
  /// y = (x - mean) * invstd * weight + bias; weight and bias may be nullptr.
  void (*forward)(void* y, const void* x, const void* weight, const void* bias, int64_t n, bool center,
                  double eps, void* mean, void* invstd);
  /// dx from dy and the saved statistics; weight may be nullptr.
  void (*backward)(void* dx, const void* x, const void* dy, const void* weight, int64_t n, bool center,
                   const void* mean, const void* invstd);
  /// db += dy, dw += dy * (x - mean) * invstd
  void (*affine)(double* db, double* dw, const void* x, const void* dy, int64_t n, const void* mean,
                 const void* invstd);
};

}  // namespace fastcnn::cpu
