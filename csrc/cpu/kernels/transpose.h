// Copies of matrices with rows and columns exchanged: what a change of memory layout comes down to.
#pragma once

#include <stdint.h>

namespace fastcnn::cpu {

struct TransposeKernels {
  /// y[j * y_step + i] = x[i * x_step + j] for i in [0, rows), j in [0, cols); steps in elements.
  /// `bytes` of an element: 1, 2, 4 or 8. `stream`: past the caches (cpu/stream.h), complete on return.
  void (*run)(void* y, const void* x, int64_t rows, int64_t cols, int64_t y_step, int64_t x_step, int bytes,
              bool stream);
};

}  // namespace fastcnn::cpu
