// Batched products of every number type on the CPU (common/gemm.h).
#pragma once

#include <cstddef>

#include "common/gemm.h"

namespace fastcnn::cpu {

/// Scratch for this product on `threads` threads. Pure; reads sizes only, no pointers.
size_t gemm_workspace_bytes(const GemmParams& params, int threads);
void gemm(const GemmParams& params);

}  // namespace fastcnn::cpu
