// Losses on the CPU.
#pragma once

#include "common/loss.h"

namespace fastcnn::cpu {

void cross_entropy_forward(const CrossEntropyParams& params);
void cross_entropy_backward(const CrossEntropyParams& params);
void softmax_forward(const SoftmaxParams& params);
void softmax_backward(const SoftmaxParams& params);
void pointwise_loss_forward(const PointwiseLossParams& params);
void pointwise_loss_backward(const PointwiseLossParams& params);

}  // namespace fastcnn::cpu
