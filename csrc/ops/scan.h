// Sorting and running sums along an axis; regular sequences.
#pragma once

#include <optional>
#include <utility>

#include "ops/context.h"

namespace fastcnn::ops {

/// The first k along `axis` in order (k < 0: all of them) and where they were (int64). NaN is the largest number.
std::pair<std::optional<Tensor>, Tensor> sort(const char* op, const Tensor& x, int64_t axis, int64_t k,
                                              bool descending, bool want_values);
/// Running sums along `axis`, from the end if `reverse`; int64 for integers and bool.
Tensor cumsum(const Tensor& x, int64_t axis, bool reverse);
/// start, start + step, ...; integer dtypes take the whole numbers.
Tensor arange(int64_t count, double start, double step, int64_t whole_start, int64_t whole_step, DType dtype,
              Device device);
/// `count` numbers from start to end, both exact.
Tensor linspace(double start, double end, int64_t count, DType dtype, Device device);

}  // namespace fastcnn::ops
