// y = x where x >= 0 or x is NaN, else 0.
#pragma once

#include <cstdint>

#include "common/dtype.h"

namespace fastcnn::cuda {

struct ReluArgs {
  DType dtype;
  const void* x;
  void* y;  // may be x
  int64_t count;
};
/// `stream` is a cudaStream_t.
void relu(const ReluArgs& a, void* stream);

}  // namespace fastcnn::cuda
