// Putting tensors together along an axis.
#pragma once

#include <vector>

#include "ops/context.h"

namespace fastcnn::ops {

/// One after the other along `axis`; the other extents are equal. channels_last memory if every part has it.
Tensor cat(const char* op, const std::vector<Tensor>& parts, int64_t axis);

}  // namespace fastcnn::ops
