// Sorting, running sums and regular sequences on the CPU.
#pragma once

#include "common/scan.h"

namespace fastcnn::cpu {

void sort(const SortParams& params);
void cumsum(const CumsumParams& params);
void ramp(const RampParams& params);

}  // namespace fastcnn::cpu
