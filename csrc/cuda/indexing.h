// Reads and writes at positions that are data, on CUDA; parameters in common/indexing.h. A card cannot raise an
// IndexError: a read out of range gives NaN (0 for whole numbers), a write out of range does nothing.
#pragma once

#include "common/indexing.h"

namespace fastcnn::cuda {

void index(const IndexParams& params, void* stream);
void gather(const GatherParams& params, void* stream);
void nonzero(const NonzeroParams& params, void* stream);

}  // namespace fastcnn::cuda
