// Softmax cross entropy on CUDA; parameters in common/loss.h.
#pragma once

#include "common/loss.h"

namespace fastcnn::cuda {

// `stream` is a cudaStream_t. A class index out of range, which the CPU refuses, makes the loss and its position's
// gradient NaN here: an error would have to wait for the card.
void cross_entropy_forward(const CrossEntropyParams& params, void* stream);
void cross_entropy_backward(const CrossEntropyParams& params, void* stream);

}  // namespace fastcnn::cuda
