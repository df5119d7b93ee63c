// Sparse maps along one axis on CUDA; see common/axis_map.h.
#pragma once

#include "common/axis_map.h"

namespace fastcnn::cuda {

void axis_map(const AxisMapParams& params, void* stream);

}  // namespace fastcnn::cuda
