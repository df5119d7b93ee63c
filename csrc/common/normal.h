// Uniform and normal numbers from Philox words, with the same bits on every machine: plain IEEE float64 arithmetic
// without the C library's log, sin and cos (which differ between libraries) and without fused multiply-adds (the
// build switches contraction off on the CPU; on CUDA the intrinsics below do).
#pragma once

#include "common/philox.h"

namespace fastcnn {

#if defined(__CUDA_ARCH__)
FC_RANDOM_FN double random_mul_add(double a, double b, double c) { return __dadd_rn(__dmul_rn(a, b), c); }
#else
FC_RANDOM_FN double random_mul_add(double a, double b, double c) { return a * b + c; }
#endif

/// log(u) for 0 < u <= 1, u normal: u = m 2^e, log m = 2 atanh((m - 1) / (m + 1)) by its series; error < 1e-15.
FC_RANDOM_FN double random_log(double u) {
  uint64_t bits;
  __builtin_memcpy(&bits, &u, 8);
  int64_t e = (int64_t)(bits >> 52) - 1023;
  bits = (bits & 0x000fffffffffffffull) | 0x3ff0000000000000ull;
  double m;
  __builtin_memcpy(&m, &bits, 8);
  if (m > 1.4142135623730951) {
    m *= 0.5;
    ++e;
  }
  const double f = (m - 1) / (m + 1), s = f * f;
  double sum = 0;
  for (int k = 25; k >= 1; k -= 2) sum = random_mul_add(sum, s, 1.0 / k);
  return random_mul_add((double)e, 0.69314718055994530942, 2 * f * sum);
}

/// sin and cos of 2 pi u for 0 <= u < 1: exact reduction to an eighth of a turn, then the Taylor series.
FC_RANDOM_FN void random_sincos(double u, double& sine, double& cosine) {
  const int quarter = (int)(4 * u + 0.5);
  const double a = (u - quarter * 0.25) * 6.28318530717958647693, s = a * a;
  double sn = 0, cs = 0;
  for (int k = 18; k >= 2; k -= 2) {
    sn = random_mul_add(sn, -s / ((k + 1) * k), 1);
    cs = random_mul_add(cs, -s / (k * (k - 1)), 1);
  }
  sn *= a;
  const bool swap = quarter & 1, minus_sine = quarter & 2, minus_cosine = (quarter + 1) & 2;
  sine = swap ? cs : sn;
  cosine = swap ? sn : cs;
  sine = minus_sine ? -sine : sine;
  cosine = minus_cosine ? -cosine : cosine;
}

FC_RANDOM_FN uint64_t random_word64(const PhiloxBlock& b, int i) {
  return (uint64_t)b.word[2 * i + 1] << 32 | b.word[2 * i];
}
/// Box and Muller: two independent standard normal numbers from u1 in (0, 1] and u2 in [0, 1).
FC_RANDOM_FN void random_normals(double u1, double u2, double& z0, double& z1) {
  const double r = __builtin_sqrt(-2 * random_log(u1));
  double sine, cosine;
  random_sincos(u2, sine, cosine);
  z0 = r * cosine;
  z1 = r * sine;
}
/// Element j (0 .. 3) of a block of four, from 32-bit words.
FC_RANDOM_FN double random_normal4(const PhiloxBlock& b, int j) {
  double z0, z1;
  const int at = j & 2;
  random_normals(((double)b.word[at] + 1) * 0x1p-32, (double)b.word[at + 1] * 0x1p-32, z0, z1);
  return j & 1 ? z1 : z0;
}
/// Element j (0, 1) of a block of two, from 53-bit numbers: for float64.
FC_RANDOM_FN double random_normal2(const PhiloxBlock& b, int j) {
  double z0, z1;
  random_normals(((double)(random_word64(b, 0) >> 11) + 1) * 0x1p-53,
                 (double)(random_word64(b, 1) >> 11) * 0x1p-53, z0, z1);
  return j ? z1 : z0;
}

}  // namespace fastcnn
