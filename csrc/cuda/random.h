// Multiplication by random numbers on CUDA; parameters in common/random.h, numbers of common/normal.h: the CPU's bits.
#pragma once

#include "common/random.h"

namespace fastcnn::cuda {

/// `stream` is a cudaStream_t.
void random_scale(const RandomScaleParams& params, void* stream);

}  // namespace fastcnn::cuda
