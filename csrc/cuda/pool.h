// Pooling on CUDA; structs in common/pool_problem.h.
#pragma once

#include "common/pool_problem.h"

namespace fastcnn::cuda {

// `stream` is a cudaStream_t.
void max_pool_forward(const PoolParams& params, void* stream);
void max_pool_backward(const PoolParams& params, void* stream);
void max_pool_indices(const PoolParams& params, void* stream);
void max_pool_gather(const PoolParams& params, void* stream);
void avg_pool_forward(const PoolParams& params, void* stream);
void avg_pool_backward(const PoolParams& params, void* stream);

}  // namespace fastcnn::cuda
