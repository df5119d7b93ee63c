// Sparse linear maps along one axis; structs in common/axis_map.h.
#pragma once

#include "common/axis_map.h"

namespace fastcnn::cpu {

void axis_map(const AxisMapParams& params);

}  // namespace fastcnn::cpu
