// Pooling on the CPU; structs in common/pool_problem.h.
#pragma once

#include "common/pool_fractional.h"
#include "common/pool_problem.h"

namespace fastcnn::cpu {

void max_pool_forward(const PoolParams& params);
void max_pool_backward(const PoolParams& params);
/// y[o] = flat index, in the plane of one channel, of the cell that won (int64).
void max_pool_indices(const PoolParams& params);
/// y[o] = x[the cell that won]: the linear map whose transpose is max_pool_backward.
void max_pool_gather(const PoolParams& params);
void avg_pool_forward(const PoolParams& params);
void avg_pool_backward(const PoolParams& params);

void fractional_max_pool(const FractionalParams& params);
/// IndexError for a cell outside of its plane.
void max_unpool(const UnpoolParams& params);

}  // namespace fastcnn::cpu
