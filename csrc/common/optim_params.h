// What an optimizer kernel is handed.
#pragma once

#include "common/dtype.h"
#include "common/optim.h"

namespace fastcnn {

struct OptimParams {
  OptimRule rule;
  DType dtype;             ///< of the parameters
  const OptimItem* items;  ///< in host memory
  int64_t item_count;
  int64_t tasks;
};

}  // namespace fastcnn
