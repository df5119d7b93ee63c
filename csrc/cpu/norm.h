// Batch, group and instance normalisation on the CPU.
#pragma once

#include "common/norm.h"

namespace fastcnn::cpu {

void norm_forward(const NormForwardParams& params);
void norm_backward(const NormBackwardParams& params);

}  // namespace fastcnn::cpu
