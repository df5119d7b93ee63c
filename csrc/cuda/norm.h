// Normalisations on CUDA; parameters in common/norm.h.
#pragma once

#include "common/norm.h"

namespace fastcnn::cuda {

// `stream` is a cudaStream_t.
void norm_forward(const NormForwardParams& params, void* stream);
void norm_backward(const NormBackwardParams& params, void* stream);

}  // namespace fastcnn::cuda
