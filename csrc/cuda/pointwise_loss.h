// Losses of one prediction and one target on CUDA; parameters in common/loss.h, formulas in common/pointwise_loss.h.
#pragma once

#include "common/loss.h"

namespace fastcnn::cuda {

// `stream` is a cudaStream_t.
void pointwise_loss_forward(const PointwiseLossParams& params, void* stream);
void pointwise_loss_backward(const PointwiseLossParams& params, void* stream);

}  // namespace fastcnn::cuda
