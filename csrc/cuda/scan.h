// Ops that walk along one axis, and regular sequences, on CUDA; parameters in common/scan.h.
#pragma once

#include "common/scan.h"

namespace fastcnn::cuda {

void sort(const SortParams& params, void* stream);
void cumsum(const CumsumParams& params, void* stream);
void ramp(const RampParams& params, void* stream);

}  // namespace fastcnn::cuda
