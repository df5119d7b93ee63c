// Products in which one operand is read about once, so that packing it would cost as much as multiplying: linear
// layers on few rows. Nothing is copied and no scratch is needed.
#pragma once

#include "cpu/sgemm.h"

namespace fastcnn::cpu {

/// Both operands are contiguous along a depth that is long beside the rows: y = x W^T of a linear layer. Each element is
/// the sum of as many chains as a vector has lanes.
bool sgemm_is_dots(const Sgemm& s);
void sgemm_dots(const Sgemm& s, int threads);

/// Few rows of A, and contiguous rows of B: dx = dy W of a linear layer. Each element is one chain over the depth.
bool sgemm_is_few_rows(const Sgemm& s);
void sgemm_few_rows(const Sgemm& s, int threads);

}  // namespace fastcnn::cpu
