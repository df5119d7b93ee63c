// The living template: the smallest op that goes through every room. It is compiled, tested and of no other use.
#pragma once

#include "ops/context.h"

namespace fastcnn::ops {

/// y = scale * x in x's memory order; float dtypes.
Tensor null_op(const Tensor& x, double scale);

}  // namespace fastcnn::ops
