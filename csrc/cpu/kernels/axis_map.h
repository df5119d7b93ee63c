// The inner loop of sparse maps along an axis.
#pragma once

#include <stdint.h>

namespace fastcnn::cpu {

struct AxisMapKernels {
  /// y[i] = sum over k < count of weight[k] * x[index[k] * step + i], i < width.
  void (*row)(void* y, const void* x, const int64_t* index, const double* weight, int64_t count, int64_t step,
              int64_t width);
};

}  // namespace fastcnn::cpu
