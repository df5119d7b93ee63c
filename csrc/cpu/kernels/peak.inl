// The floating-point peak of one core, measured in registers: interface in peak.h.
#pragma once

#include "cpu/kernels/peak.h"
#include "cpu/kernels/vec.h"

namespace fastcnn::cpu::FC_ISA {
namespace {

constexpr int kPeakChains = 12;  // two units, latency 4 or 5: ten chains suffice, and 16 registers hold them

float peak_multiply_add(int64_t steps, float seed) {
  Vec chain[kPeakChains];
  for (int i = 0; i < kPeakChains; ++i) chain[i] = vset(seed + float(i));
  const Vec a = vset(0.999f), b = vset(0.001f);  // converges to 1: neither overflow nor subnormal numbers
  for (int64_t s = 0; s < steps; ++s) {
#pragma GCC unroll 12
    for (int i = 0; i < kPeakChains; ++i) chain[i] = vfma(chain[i], a, b);
  }
  Vec sum = vzero();
  for (int i = 0; i < kPeakChains; ++i) sum = vadd(sum, chain[i]);
  return vsum(sum);
}

constexpr PeakKernels kPeak = {peak_multiply_add, 2 * kPeakChains* kLanes};

}  // namespace
}  // namespace fastcnn::cpu::FC_ISA
