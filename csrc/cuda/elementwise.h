// Pointwise ops on CUDA; parameters in common/elementwise.h, formulas in common/pointwise_formulas.inl.
#pragma once

#include "common/elementwise.h"

namespace fastcnn::cuda {

// `stream` is a cudaStream_t.
void unary(const UnaryParams& params, void* stream);  ///< Unary::copy also converts between dtypes
void binary(const BinaryParams& params, void* stream);
void pack_mask(const PackMaskParams& params, void* stream);
void apply_mask(const ApplyMaskParams& params, void* stream);
void where(const WhereParams& params, void* stream);

}  // namespace fastcnn::cuda
