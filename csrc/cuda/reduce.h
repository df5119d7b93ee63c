// Reductions on CUDA; parameters and plan in common/reduce.h.
#pragma once

#include "common/reduce.h"

namespace fastcnn::cuda {

/// `stream` is a cudaStream_t.
void reduce(const ReduceParams& params, void* stream);

}  // namespace fastcnn::cuda
