// Batched products on CUDA (common/gemm.h); no workspace.
#pragma once

#include "common/gemm.h"

namespace fastcnn::cuda {

/// `stream` is a cudaStream_t.
void gemm(const GemmParams& params, void* stream);

}  // namespace fastcnn::cuda
