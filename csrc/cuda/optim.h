// Optimizer steps on CUDA: all tensors of one dtype in one launch.
#pragma once

#include "common/optim_params.h"

namespace fastcnn::cuda {

/// `stream` is a cudaStream_t.
void optim(const OptimParams& params, void* stream);

}  // namespace fastcnn::cuda
