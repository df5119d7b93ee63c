// Batch norm by given statistics as a factor and a shift per channel, on CUDA; parameters in common/norm_fold.h.
#pragma once

#include "common/norm_fold.h"

namespace fastcnn::cuda {

/// `stream` is a cudaStream_t.
void norm_fold(const NormFoldParams& params, void* stream);

}  // namespace fastcnn::cuda
