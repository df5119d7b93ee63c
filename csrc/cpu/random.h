// Random numbers on the CPU. Initial values are made here for every device, so that they have the same bits.
#pragma once

#include "common/random.h"

namespace fastcnn::cpu {

void random_fill(const RandomFillParams& params);
void random_scale(const RandomScaleParams& params);
/// y = a random order of 0 .. n-1 (Fisher and Yates): step i = n-1 .. 1 draws as position i.
void random_permutation(int64_t* y, int64_t n, const RandomKey& key);

}  // namespace fastcnn::cpu
