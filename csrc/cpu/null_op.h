#pragma once

#include "common/null_op.h"

namespace fastcnn::cpu {

void null_op(const NullOpParams& params);

}  // namespace fastcnn::cpu
