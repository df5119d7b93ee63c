// Reductions over axes. NaN propagates through max and min; empty sums are 0, empty products 1.
#pragma once

#include <utility>

#include "common/reduce.h"
#include "ops/context.h"

namespace fastcnn::ops {

/// y = op over `axes` of x (an empty list: all of them), in contiguous memory; `divisor` divides a sum (mean).
/// Sums and products of integers are int64. Not for argmax, argmin.
Tensor reduce(Reduce op, const Tensor& x, const Dims& axes, bool keepdim, double divisor = 1);
/// argmax or argmin over one axis: (values, int64 indices); the first one at ties, a NaN before all numbers.
std::pair<Tensor, Tensor> reduce_arg(Reduce op, const Tensor& x, int64_t axis, bool keepdim);

}  // namespace fastcnn::ops
