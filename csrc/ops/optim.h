// One step of an optimizer over all parameters of a group: one launch, whatever their number and sizes.
#pragma once

#include <string>
#include <vector>

#include "common/optim.h"
#include "ops/context.h"

namespace fastcnn::ops {

/// Settings of a parameter group, in Python's names; an optimizer reads those of its own.
struct OptimSettings {
  std::string kind = "sgd";  ///< sgd adam rmsprop adagrad adadelta adamax nadam radam lion
  double lr = 0, weight_decay = 0, momentum = 0, dampening = 0, beta1 = 0, beta2 = 0, eps = 0;
  double alpha = 0, rho = 0, lr_decay = 0, momentum_decay = 0;
  bool nesterov = false, maximize = false, amsgrad = false, centered = false, decoupled = false;
};

/// How many state tensors each parameter has under these settings.
int optim_states(const OptimSettings& settings);

/// Updates every parameter that has a gradient (`param->grad`). states[k][i] is state k of parameter i: dense, in the
/// parameter's memory order, float64 for float64 parameters and float32 for others. scalars[2 * i] counts the
/// parameter's steps, scalars[2 * i + 1] is NAdam's product of momenta; both are brought forward.
void optim_step(const OptimSettings& settings, const std::vector<Tensor*>& params,
                const std::vector<std::vector<Tensor*>>& states, double* scalars);

}  // namespace fastcnn::ops
