// Pooling on CUDA; structs in common/pool_problem.h and common/pool_fractional.h.
#pragma once

#include "common/pool_fractional.h"
#include "common/pool_problem.h"

namespace fastcnn::cuda {

// `stream` is a cudaStream_t.
void max_pool_forward(const PoolParams& params, void* stream);
void max_pool_backward(const PoolParams& params, void* stream);
void max_pool_indices(const PoolParams& params, void* stream);
void max_pool_gather(const PoolParams& params, void* stream);
void avg_pool_forward(const PoolParams& params, void* stream);
void avg_pool_backward(const PoolParams& params, void* stream);
void fractional_max_pool(const FractionalParams& params, void* stream);
/// A position out of range writes nothing and gets the gradient 0: a card cannot raise an IndexError.
void max_unpool(const UnpoolParams& params, void* stream);

}  // namespace fastcnn::cuda
