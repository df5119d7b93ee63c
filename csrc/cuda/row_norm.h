// Layer norm, RMS norm and local response norm on CUDA; parameters in common/norm.h.
#pragma once

#include "common/norm.h"

namespace fastcnn::cuda {

// `stream` is a cudaStream_t.
void row_norm_forward(const RowNormParams& params, void* stream);
void row_norm_backward(const RowNormParams& params, void* stream);
void local_response_norm_forward(const LrnParams& params, void* stream);
void local_response_norm_backward(const LrnParams& params, void* stream);

}  // namespace fastcnn::cuda
