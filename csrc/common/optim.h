// One optimizer step: a list of tensors, one rule, and per tensor the numbers of that rule. No std:: here: kernels
// compiled per instruction set include this file.
#pragma once

#include <stdint.h>

namespace fastcnn {

/// Update rules by the state they carry; formulas in common/optim_rules.inl.
enum class OptimRule : uint8_t {
  sgd,                        ///< -
  sgd_momentum,               ///< momentum_buffer
  adam,                       ///< exp_avg, exp_avg_sq
  adam_amsgrad,               ///< exp_avg, exp_avg_sq, max_exp_avg_sq
  rmsprop,                    ///< square_avg
  rmsprop_momentum,           ///< square_avg, momentum_buffer
  rmsprop_centered,           ///< square_avg, grad_avg
  rmsprop_centered_momentum,  ///< square_avg, momentum_buffer, grad_avg
  adagrad,                    ///< sum
  adadelta,                   ///< square_avg, acc_delta
  adamax,                     ///< exp_avg, exp_inf
  nadam,                      ///< exp_avg, exp_avg_sq
  radam,                      ///< exp_avg, exp_avg_sq
  lion,                       ///< exp_avg
  count
};
constexpr int kOptimStates[] = {0, 1, 2, 3, 1, 2, 2, 3, 1, 2, 2, 2, 2, 1};

constexpr int kOptimNumbers = 7;

/// The numbers of one tensor's step, computed in float64 by ops/optim.cpp.
struct OptimNumbers {
  double sign = 1;               ///< -1 to maximize
  double decay = 0;              ///< L2: grad += decay * param
  double shrink = 1;             ///< decoupled decay: param *= shrink, before the update
  double n[kOptimNumbers] = {};  ///< the rule's own
};

/// Dense tensors of one memory order; state is float64 for float64 parameters, else float32.
struct OptimItem {
  void* param;
  const void* grad;
  void* state[3];
  int64_t count;
  int64_t first_task;  ///< tasks of the items before this one
  OptimNumbers numbers;
};

constexpr int64_t kOptimTaskElems = 32768;

}  // namespace fastcnn
