// Pointwise kernels on the CPU: drive a Loop over the threads, with inner loops from the ISA table (float32)
// or the generic one (other dtypes).
#pragma once

#include "common/elementwise.h"

namespace fastcnn::cpu {

void unary(const UnaryParams& params);  ///< Unary::copy also converts between dtypes
void binary(const BinaryParams& params);
/// A copy whose target is contiguous along another axis than its source, by blocks; false if it is no such copy.
bool layout_copy(const Loop& loop);
void where(const WhereParams& params);
void pack_mask(const PackMaskParams& params);
void apply_mask(const ApplyMaskParams& params);

}  // namespace fastcnn::cpu
