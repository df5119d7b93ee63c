// y[r] = sum of x[r][0 .. columns), in an order that depends on the number of columns only.
#pragma once

#include <cstdint>

#include "common/dtype.h"

namespace fastcnn::cuda {

struct RowSumArgs {
  DType dtype;
  const void* x;
  void* y;
  int64_t rows, columns;
};
/// `stream` is a cudaStream_t.
void row_sum(const RowSumArgs& a, void* stream);

}  // namespace fastcnn::cuda
