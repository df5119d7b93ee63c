// A loop that does nothing but multiply-add, to measure what the machine can do at best.
#pragma once

#include <stdint.h>

namespace fastcnn::cpu {

struct PeakKernels {
  /// `steps` times as many independent multiply-adds as hide the latency; returns a number to keep them alive.
  float (*multiply_add)(int64_t steps, float seed);
  int flops_per_step;
};

}  // namespace fastcnn::cpu
