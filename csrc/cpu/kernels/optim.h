// Loops of the optimizers, one table per instruction set (float32) plus a generic one (other dtypes).
#pragma once

#include "common/optim.h"

namespace fastcnn::cpu {

/// Updates `count` elements of param and of the rule's states in place.
using OptimFn = void (*)(void* param, const void* grad, void* const* state, int64_t count,
                         const OptimNumbers& numbers);

struct OptimKernels {
  OptimFn (*find)(OptimRule);
};

}  // namespace fastcnn::cpu
