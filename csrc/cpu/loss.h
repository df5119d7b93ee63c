// Losses on the CPU.
#pragma once

#include "common/loss.h"

namespace fastcnn::cpu {

void cross_entropy_forward(const CrossEntropyParams& params);
void cross_entropy_backward(const CrossEntropyParams& params);

}  // namespace fastcnn::cpu
