#pragma once

#include "common/optim_params.h"

namespace fastcnn::cpu {

void optim(const OptimParams& params);

}  // namespace fastcnn::cpu
