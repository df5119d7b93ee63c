// Exponentials, logarithms, tanh and erf of float32 as straight lines without branches or calls, so that a loop over
// them becomes vectors on every instruction set. Included in an anonymous namespace, after <stdint.h>.
//
// Bits: only additions, multiplications, divisions and selections, each rounded once (the files are compiled with
// -ffp-contract=off and none of these is fused), so an element has the same bits on every instruction set, in a
// vector or alone. Fusing would save a fifth of the arithmetic of loops that memory limits.
// Range: every float, NaN and infinities included; results below the normal range are rounded to denormals, not
// flushed. Errors in units in the last place, over all floats (tests/test_float_math.py holds them): exp 1.0,
// expm1 1.6, log 0.9, log1p 0.9, tanh 1.3, erf 1.3.
// One file of kernels includes it once, and every float32 or float64 formula finds its functions by the same names.
// Polynomials: minimax by Remez's exchange in 40 digits, weighted for the error of the result, then rounded.
#pragma once

inline uint32_t bits_of(float x) {
  uint32_t bits;
  __builtin_memcpy(&bits, &x, sizeof(bits));
  return bits;
}
inline float float_of(uint32_t bits) {
  float x;
  __builtin_memcpy(&x, &bits, sizeof(x));
  return x;
}
inline float m_abs(float x) { return float_of(bits_of(x) & 0x7FFFFFFFu); }
inline float with_sign(float magnitude, float sign) {
  return float_of(bits_of(magnitude) | (bits_of(sign) & 0x80000000u));
}

constexpr float kLog2E = 1.44269504f;
// ln 2 in two parts; the first has nine bits, so its product with an exponent is exact.
constexpr float kLn2High = 0.693359375f, kLn2Low = -2.12194440e-4f;
constexpr float kRounder =
    12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer, which its last bits then hold

/// x = n ln 2 + r with |r| <= ln(2) / 2 (1 + 2^-20), for |x| <= 150.
struct Reduced {
  float r;
  uint32_t n;  // two's complement
};
inline Reduced reduce_by_ln2(float x) {
  const float shifted = x * kLog2E + kRounder, n = shifted - kRounder;
  return {x - n * kLn2High - n * kLn2Low, bits_of(shifted) - bits_of(kRounder)};
}
/// 2^n for -126 <= n <= 127.
inline float power_of_two(uint32_t n) { return float_of((n + 127u) << 23); }
/// c0 + c1 x + c2 x^2 + c3 x^3. Pairs instead of Horner's chain: a third of the waiting, one multiplication more.
inline float cubic(float x, float x2, float c0, float c1, float c2, float c3) {
  return (c0 + c1 * x) + x2 * (c2 + c3 * x);
}
/// e^r - 1 for a reduced r.
inline float small_expm1(float r) {
  const float r2 = r * r;
  const float high = 1.3942698e-3f + r * 1.9846052e-4f;
  return r + r2 * (cubic(r, r2, 5e-1f, 1.6666666e-1f, 4.1666336e-2f, 8.333394e-3f) + r2 * r2 * high);
}

inline float m_exp(float x) {
  x = x > 89.0f ? 89.0f : x;      // infinite
  x = x < -104.0f ? -104.0f : x;  // 0
  const Reduced t = reduce_by_ln2(x);
  const uint32_t half = uint32_t(int32_t(t.n) >> 1);  // in two steps: 2^n may be no normal number
  return (1.0f + small_expm1(t.r)) * power_of_two(half) * power_of_two(t.n - half);
}
/// The same for |x| <= 87, and NaN for NaN.
inline float exp_in_range(float x) {
  const Reduced t = reduce_by_ln2(x);
  return (1.0f + small_expm1(t.r)) * power_of_two(t.n);
}

inline float m_expm1(float x0) {
  float x = x0 > 89.0f ? 89.0f : x0;
  x = x < -30.0f ? -30.0f : x;  // -1
  const Reduced t = reduce_by_ln2(x);
  const float half = power_of_two(t.n - 1u);  // 2^n itself may be infinite
  const float y = 2.0f * (half * small_expm1(t.r) + (half - 0.5f));
  return m_abs(x0) < 1e-8f ? x0 : y;  // and the sign of 0
}

/// ln(1 + f) - f for 1 + f in [sqrt(1/2), sqrt(2)].
inline float small_log1p_rest(float f) {
  const float f2 = f * f;
  const float p = cubic(f, f2, 3.333333e-1f, -2.500082e-1f, 2.0001227e-1f, -1.6623358e-1f) +
                  f2 * f2 * cubic(f, f2, 1.4201768e-1f, -1.3160186e-1f, 1.2761478e-1f, -7.6343365e-2f);
  return f2 * f * p - 0.5f * f2;
}
/// m = 2^k (1 + f), 1 + f in [sqrt(1/2), sqrt(2)), for a positive normal number.
struct Split {
  float k, f;
};
inline Split split(float m) {
  constexpr uint32_t kSqrtHalf = 0x3F3504F3u;
  const uint32_t shift = (bits_of(m) - kSqrtHalf) & 0xFF800000u;
  return {float(int32_t(shift) >> 23), float_of(bits_of(m) - shift) - 1.0f};
}

inline float m_log(float x) {
  const bool tiny = x < 1.17549435e-38f;
  const Split s = split(tiny ? x * 8388608.0f : x);
  const float k = s.k - (tiny ? 23.0f : 0.0f);
  float y = (s.f + (small_log1p_rest(s.f) + k * kLn2Low)) + k * kLn2High;
  y = x == 0.0f ? -__builtin_inff() : y;
  y = x < 0.0f ? __builtin_nanf("") : y;
  return x < __builtin_inff() ? y : x;  // infinity, NaN
}

inline float m_log1p(float x) {
  const float u = 1.0f + x;
  const Split s = split(u);
  const bool near = s.k == 0.0f;  // 1 + x lost digits of x that matter: use x itself
  // What the rounding of 1 + x lost, relative to it: at most half a unit, so two digits of 1 / u will do. They come
  // from the exponent's bits turned round and one step of Newton's.
  const float guess = float_of(0x7EF311C7u - bits_of(u)), inverse = guess * (2.0f - u * guess);
  float lost = (x > 1.0f ? 1.0f - (u - x) : x - (u - 1.0f)) * inverse;
  lost = x > 1e9f ? 0.0f : lost;
  const float f = near ? x : s.f;
  float y = (f + (small_log1p_rest(f) + (near ? 0.0f : s.k * kLn2Low + lost))) + s.k * kLn2High;
  y = x == -1.0f ? -__builtin_inff() : y;
  y = x < -1.0f ? __builtin_nanf("") : y;
  y = m_abs(x) < 1e-8f ? x : y;  // and the sign of 0
  return x < __builtin_inff() ? y : x;
}

inline float m_tanh(float x) {
  const float a = m_abs(x), z = a * a;
  const float z2 = z * z;
  const float p =
      cubic(z, z2, -3.333328e-1f, 1.3331442e-1f, -5.3739715e-2f, 2.0639086e-2f) + z2 * z2 * -5.704988e-3f;
  const float near = a + a * z * p;
  const float t = a > 10.0f ? 10.0f : a;  // from 9.02 on it is 1
  const float far = 1.0f - 2.0f / (exp_in_range(t + t) + 1.0f);
  return with_sign(a < 0.625f ? near : far, x);
}

inline float m_erf(float x) {
  const float z = x * x, z2 = z * z, a = m_abs(x);
  const float p = cubic(z, z2, 1.2837917e-1f, -3.7612632e-1f, 1.1283664e-1f, -2.6857706e-2f) +
                  z2 * z2 * ((5.196952e-3f + z * -8.0976996e-4f) + z2 * 8.18508e-5f);
  const float near = x + x * p;
  const float t = a > 4.0f ? 4.0f : a, t2 = t * t;  // there 1 - erf is below half a unit of 1
  const float log_erfc = cubic(t, t2, -2.447664e-4f, -1.1274748f, -6.375174e-1f, -1.0363996e-1f) +
                         t2 * t2 * ((2.208746e-2f + t * -3.0084902e-3f) + t2 * 1.924211e-4f);
  const float far = 1.0f - exp_in_range(log_erfc);
  return a < 0.95f ? near : with_sign(far, x);
}

// ---- float64: the C library ----

#define FC_MATH1(name) \
  inline double m_##name(double x) { return __builtin_##name(x); }
FC_MATH1(exp)
FC_MATH1(expm1)
FC_MATH1(log)
FC_MATH1(log1p)
FC_MATH1(sqrt)
FC_MATH1(sin)
FC_MATH1(cos)
FC_MATH1(erf)
FC_MATH1(tanh)
FC_MATH1(floor)
FC_MATH1(ceil)
FC_MATH1(rint)
#undef FC_MATH1
// float32 beyond the above: one instruction each, or too rare in networks for a vector form of ours (sin, cos, pow).
inline float m_sqrt(float x) { return __builtin_sqrtf(x); }
inline float m_sin(float x) { return __builtin_sinf(x); }
inline float m_cos(float x) { return __builtin_cosf(x); }
inline float m_floor(float x) { return __builtin_floorf(x); }
inline float m_ceil(float x) { return __builtin_ceilf(x); }
inline float m_rint(float x) { return __builtin_rintf(x); }
inline float m_pow(float x, float y) { return __builtin_powf(x, y); }
inline double m_pow(double x, double y) { return __builtin_pow(x, y); }
inline double m_abs(double x) { return __builtin_fabs(x); }
