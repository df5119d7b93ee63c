// Softmax and log-softmax on CUDA; parameters in common/loss.h.
#pragma once

#include "common/loss.h"

namespace fastcnn::cuda {

// `stream` is a cudaStream_t.
void softmax_forward(const SoftmaxParams& params, void* stream);
void softmax_backward(const SoftmaxParams& params, void* stream);

}  // namespace fastcnn::cuda
