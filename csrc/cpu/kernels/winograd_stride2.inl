// One-dimensional Winograd transforms at stride 2; winograd.h says which position is what.
//
// Two taps (w0, w2) over d, a tile of M: the points are the roots of N(x) = (x^2 - a^2) (x^2 - b^2) and infinity; a tile
// of 3 leaves out -b, a tile of 2 also b. With g_p = 1 / N'(p) of a tile of 4:
//   filter     u_p = g_p (w0 + p w2),     u_inf = w2
//   output     y_k = sum of p^k m_p over the finite points (+ m_inf where k is the last)
//   input      v_p = the coefficients of N(x) / (x - p), N being the tile's own, times what keeps g_p; v_inf those of N
// One tap w1 over d: u = w1 at all finite points, so that v_p is that of two taps times g_p.
#pragma once

#include "cpu/kernels/vec.h"
#include "cpu/kernels/winograd.h"
#include "cpu/kernels/winograd_stride1.inl"

namespace fastcnn::cpu::FC_ISA {
namespace {

constexpr double kNear = 1.0 / 2, kFar = 3.0 / 2;  // a, b
constexpr double kNear2 = kNear * kNear, kFar2 = kFar * kFar;
constexpr double kGainNear = 1 / (2 * kNear * (kNear2 - kFar2)), kGainFar = 1 / (2 * kFar * (kFar2 - kNear2));
// g of a and b; those of -a and -b are their negatives

/// c * (x + d * y)
FC_INLINE Vec scaled_sum(double c, Vec x, double d, Vec y) {
  return vfma(vconst(c * d), y, vmul(vconst(c), x));
}

/// Two taps: d[M + 1] -> v[M + 1] at a, -a, infinity, b, -b.
template <int M>
FC_INLINE void two_taps_input(const Vec* d, Vec* v) {
  if constexpr (M == 2) {
    pair_of(kNear * (kNear2 - kFar2), vmul(vconst(kNear2 - kFar2), d[1]), d[0], &v[0], &v[1]);
    v[2] = vfma(vconst(-kNear2), d[0], d[2]);
  } else if constexpr (M == 3) {
    Vec e[3];  // d times x - b
#pragma GCC unroll 3
    for (int k = 0; k < 3; ++k) e[k] = vfma(vconst(-kFar), d[k], d[k + 1]);
    v[0] = scaled_sum(kFar + kNear, e[1], kNear, e[0]);
    v[1] = scaled_sum(kFar - kNear, e[1], -kNear, e[0]);
    v[2] = vfma(vconst(-kNear2), e[0], e[2]);
    v[3] = scaled_sum(2 * kFar, d[2], -kNear2, d[0]);
  } else {
    pair_of(kNear, vfma(vconst(-kFar2), d[1], d[3]), vfma(vconst(-kFar2), d[0], d[2]), &v[0], &v[1]);
    pair_of(kFar, vfma(vconst(-kNear2), d[1], d[3]), vfma(vconst(-kNear2), d[0], d[2]), &v[3], &v[4]);
    v[2] = vfma(vconst(-(kNear2 + kFar2)), d[2], vfma(vconst(kNear2 * kFar2), d[0], d[4]));
  }
}

/// One tap: d[M] -> v[M] at a, -a, b, -b.
template <int M>
FC_INLINE void one_tap_input(const Vec* d, Vec* v) {
  if constexpr (M == 2) {
    pair_of(0.5 / kNear, vmul(vconst(0.5), d[0]), d[1], &v[0], &v[1]);
  } else if constexpr (M == 3) {
    const Vec low = vfma(vconst(-kFar), d[0], d[1]), high = vfma(vconst(-kFar), d[1], d[2]);
    v[0] = scaled_sum(1 / (2 * kNear * (kNear - kFar)), high, kNear, low);
    v[1] = scaled_sum(1 / (2 * kNear * (kNear + kFar)), high, -kNear, low);
    v[2] = scaled_sum(1 / (kFar2 - kNear2), d[2], -kNear2, d[0]);
  } else {
    const Vec near = vfma(vconst(-kFar2), d[0], d[2]), far = vfma(vconst(-kNear2), d[0], d[2]);
    pair_of(kGainNear, vmul(vconst(kGainNear * kNear), near), vfma(vconst(-kFar2), d[1], d[3]), &v[0], &v[1]);
    pair_of(kGainFar, vmul(vconst(kGainFar * kFar), far), vfma(vconst(-kNear2), d[1], d[3]), &v[2], &v[3]);
  }
}

/// Sums over the points: m[M + 1] -> y[M].
template <int M>
FC_INLINE void two_taps_output(const Vec* m, Vec* y) {
  const Vec even = vadd(m[0], m[1]), odd = vsub(m[0], m[1]);
  if constexpr (M == 2) {
    y[0] = even;
    y[1] = vfma(vconst(kNear), odd, m[2]);
  } else if constexpr (M == 3) {
    y[0] = vadd(even, m[3]);
    y[1] = vfma(vconst(kNear), odd, vmul(vconst(kFar), m[3]));
    y[2] = vfma(vconst(kNear2), even, vfma(vconst(kFar2), m[3], m[2]));
  } else {
    const Vec even_b = vadd(m[3], m[4]), odd_b = vsub(m[3], m[4]);
    y[0] = vadd(even, even_b);
    y[1] = vfma(vconst(kFar), odd_b, vmul(vconst(kNear), odd));
    y[2] = vfma(vconst(kFar2), even_b, vmul(vconst(kNear2), even));
    y[3] = vfma(vconst(kFar * kFar2), odd_b, vfma(vconst(kNear * kNear2), odd, m[2]));
  }
}

/// The same without infinity: m[M] at a, -a, b, -b, each times its gain -> y[M].
template <int M>
FC_INLINE void one_tap_output(const Vec* m, Vec* y) {
  const Vec even = vsub(m[0], m[1]), odd = vadd(m[0], m[1]);
  y[0] = vmul(vconst(kGainNear), even);
  y[1] = vmul(vconst(kGainNear * kNear), odd);
  if constexpr (M > 2) {
    const Vec even_b = M > 3 ? vsub(m[2], m[M - 1]) : m[2], odd_b = M > 3 ? vadd(m[2], m[M - 1]) : m[2];
    y[0] = vfma(vconst(kGainFar), even_b, y[0]);
    y[1] = vfma(vconst(kGainFar * kFar), odd_b, y[1]);
    y[2] = vfma(vconst(kGainFar * kFar2), even_b, vmul(vconst(kGainNear * kNear2), even));
    if constexpr (M > 3)
      y[3] = vfma(vconst(kGainFar * kFar * kFar2), odd_b, vmul(vconst(kGainNear * kNear * kNear2), odd));
  }
}

// Place of a point among the inputs of stride2 (and the products of its gradient): a, -a, infinity, b, -b, and without
// infinity.
constexpr int kTwoTapsPlace[5] = {0, 1, 2, 5, 7}, kOneTapPlace[4] = {3, 4, 6, 8};

template <int M>
struct Stride2InputLine {
  static constexpr int kIn = 2 * M + 1, kOut = 2 * M + 1;
  FC_INLINE static void run(const Vec* in, Vec* out) {
    Vec d[M + 1], v[M + 1];
#pragma GCC unroll 5
    for (int k = 0; k <= M; ++k) d[k] = in[2 * k];
    two_taps_input<M>(d, v);
#pragma GCC unroll 5
    for (int k = 0; k <= M; ++k) out[kTwoTapsPlace[k]] = v[k];
#pragma GCC unroll 4
    for (int k = 0; k < M; ++k) d[k] = in[2 * k + 1];
    one_tap_input<M>(d, v);
#pragma GCC unroll 4
    for (int k = 0; k < M; ++k) out[kOneTapPlace[k]] = v[k];
  }
};
template <int M>
struct Stride2OutputLine {
  static constexpr int kIn = M + 1, kOut = M;
  FC_INLINE static void run(const Vec* in, Vec* out) { two_taps_output<M>(in, out); }
};

/// Gradient of the outputs: y[M] -> w[M + 1] at the points, the adjoint of two_taps_output.
template <int M>
struct Stride2AdjointLine {
  static constexpr int kIn = M, kOut = M + 1;
  FC_INLINE static void run(const Vec* y, Vec* w) {
    if constexpr (M == 2) {
      pair_of(kNear, y[0], y[1], &w[0], &w[1]);
    } else if constexpr (M == 3) {
      pair_of(kNear, vfma(vconst(kNear2), y[2], y[0]), y[1], &w[0], &w[1]);
      w[3] = vfma(vconst(kFar), y[1], vfma(vconst(kFar2), y[2], y[0]));
    } else {
      pair_of(kNear, vfma(vconst(kNear2), y[2], y[0]), vfma(vconst(kNear2), y[3], y[1]), &w[0], &w[1]);
      pair_of(kFar, vfma(vconst(kFar2), y[2], y[0]), vfma(vconst(kFar2), y[3], y[1]), &w[3], &w[4]);
    }
    w[2] = y[M - 1];
  }
};

template <int M>
struct Stride2GradientInputLine {
  static constexpr int kIn = M + 1, kOut = M + 1;
  FC_INLINE static void run(const Vec* in, Vec* out) { two_taps_input<M>(in, out); }
};
template <int M>
struct Stride2GradientOutputLine {
  static constexpr int kIn = 2 * M + 1, kOut = 2 * M;
  FC_INLINE static void run(const Vec* in, Vec* out) {
    Vec m[M + 1], y[M];
#pragma GCC unroll 4
    for (int k = 0; k < M; ++k) m[k] = in[kOneTapPlace[k]];
    one_tap_output<M>(m, y);
#pragma GCC unroll 4
    for (int k = 0; k < M; ++k) out[2 * k] = y[k];
#pragma GCC unroll 5
    for (int k = 0; k <= M; ++k) m[k] = in[kTwoTapsPlace[k]];
    two_taps_output<M>(m, y);
#pragma GCC unroll 4
    for (int k = 0; k < M; ++k) out[2 * k + 1] = y[k];
  }
};

/// w[3] -> u[6]: two taps at a, -a, infinity; one tap; two taps at b, -b
struct Stride2FilterLine {
  FC_INLINE static void run(const Vec* w, Vec* u) {
    pair_of(kGainNear, vmul(vconst(kGainNear * kNear), w[2]), w[0], &u[0], &u[1]);
    u[2] = w[2];
    u[3] = w[1];
    pair_of(kGainFar, vmul(vconst(kGainFar * kFar), w[2]), w[0], &u[4], &u[5]);
  }
  FC_INLINE static void adjoint(const Vec* u, Vec* w) {
    w[0] = vfma(vconst(kGainFar), vsub(u[4], u[5]), vmul(vconst(kGainNear), vsub(u[0], u[1])));
    w[1] = u[3];
    w[2] = vfma(vconst(kGainFar * kFar), vadd(u[4], u[5]),
                vfma(vconst(kGainNear * kNear), vadd(u[0], u[1]), u[2]));
  }
};

}  // namespace
}  // namespace fastcnn::cpu::FC_ISA
