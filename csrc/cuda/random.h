// Random numbers, and multiplication by them, on CUDA; parameters in common/random.h, numbers of common/normal.h: the
// CPU's bits.
#pragma once

#include "common/random.h"

namespace fastcnn::cuda {

/// A probability outside of [0, 1] gives NaN. `stream` is a cudaStream_t.
void random_fill(const RandomFillParams& params, void* stream);
void random_scale(const RandomScaleParams& params, void* stream);

}  // namespace fastcnn::cuda
