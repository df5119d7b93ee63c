// Reads and writes at positions that are data.
#pragma once

#include <optional>
#include <vector>

#include "ops/context.h"

namespace fastcnn::ops {

using Indices = std::vector<std::optional<Tensor>>;

/// x[i, :, j]: one entry per leading axis of x, none for an axis that is not indexed. The indices (int64 or int32,
/// negative from the end) are broadcast; their axes stand where the indexed ones were, in front if those are apart.
Tensor index_get(const char* op, const Tensor& x, const Indices& indices);
/// x[...] = values or += values, in place; values are broadcast. Of equal positions the last one wins.
void index_put_(const char* op, const Tensor& x, const Indices& indices, const Tensor& values,
                bool accumulate);

/// y[.., i, ..] = x[.., index[.., i, ..], ..] along `axis`; index has x's rank and on other axes extents up to x's.
Tensor gather(const char* op, const Tensor& x, int64_t axis, const Tensor& index);
/// x[.., index[.., i, ..], ..] = values[.., i, ..] or +=, in place; values has at least index's extents.
void scatter_(const char* op, const Tensor& x, int64_t axis, const Tensor& index, const Tensor& values,
              bool accumulate);

/// (found, ndim) int64: where x is not zero, in row-major order. Its size depends on values: an error on a twin.
Tensor nonzero(const char* op, const Tensor& x);

}  // namespace fastcnn::ops
