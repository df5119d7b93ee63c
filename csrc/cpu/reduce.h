// Reductions on the CPU.
#pragma once

#include "common/reduce.h"

namespace fastcnn::cpu {

void reduce(const ReduceParams& params);

}  // namespace fastcnn::cpu
