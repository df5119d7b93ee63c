// Sine and cosine on CUDA: elementwise_unary.cu hands them on.
#pragma once

#include "common/elementwise.h"

namespace fastcnn::cuda {

/// Unary::sin or Unary::cos of a float dtype; `stream` is a cudaStream_t.
void trigonometry(const UnaryParams& params, void* stream);

}  // namespace fastcnn::cuda
