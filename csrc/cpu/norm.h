// Normalisations on the CPU.
#pragma once

#include "common/norm.h"

namespace fastcnn::cpu {

void norm_forward(const NormForwardParams& params);
void norm_backward(const NormBackwardParams& params);

void row_norm_forward(const RowNormParams& params);
void row_norm_backward(const RowNormParams& params);
void local_response_norm_forward(const LrnParams& params);
void local_response_norm_backward(const LrnParams& params);

}  // namespace fastcnn::cpu
