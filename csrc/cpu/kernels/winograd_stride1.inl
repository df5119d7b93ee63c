// One-dimensional Winograd transforms at stride 1.
//
// With N(x) = x (x^2 - a^2) (x^2 - b^2) and g_p = 1 / N'(p):
//   filter     u_p = g_p (w0 + p w1 + p^2 w2),     u_inf = w2
//   output     y_k = sum of p^k m_p over the finite points (+ m_inf where k is the last of four)
//   input      the coefficients of N(x) / (x - p); without the points that a tile leaves out, times what keeps g_p
// Points come in pairs, so every pair costs an even part, an odd part, their sum and their difference.
#pragma once

#include "cpu/kernels/vec.h"
#include "cpu/kernels/winograd.h"

namespace fastcnn::cpu::FC_ISA {
namespace {

constexpr double kPointA = 2.0 / 3, kPointB = 3.0 / 2;
constexpr double kA2 = kPointA * kPointA, kB2 = kPointB * kPointB;
constexpr double kGainA = 1 / (2 * kA2 * (kA2 - kB2)), kGainB = 1 / (2 * kB2 * (kB2 - kA2));  // g_a, g_b

FC_INLINE Vec vconst(double x) { return vset(static_cast<float>(x)); }

/// plus = even + c * odd, minus = even - c * odd
FC_INLINE void pair_of(double c, Vec even, Vec odd, Vec* plus, Vec* minus) {
  *plus = vfma(vconst(c), odd, even);
  *minus = vfma(vconst(-c), odd, even);
}

/// Input of a tile of M: d[M + 2] -> v[M + 2].
template <int M>
FC_INLINE void input_line(const Vec* d, Vec* v) {
  if constexpr (M == 2) {
    pair_of(kPointA, vsub(vmul(vconst(kA2), d[2]), d[0]), vfma(vconst(-kB2), d[1], d[3]), &v[0], &v[1]);
    pair_of(kPointB, vsub(vmul(vconst(kB2), d[2]), d[0]), vfma(vconst(-kA2), d[1], d[3]), &v[2], &v[3]);
  } else {
    pair_of(kPointA, vfma(vconst(-kB2), d[2], d[4]), vfma(vconst(-kB2), d[1], d[3]), &v[0], &v[1]);
    pair_of(kPointB, vfma(vconst(-kA2), d[2], d[4]), vfma(vconst(-kA2), d[1], d[3]), &v[2], &v[3]);
    v[4] = vfma(vconst(-(kA2 + kB2)), d[2], vadd(d[0], d[4]));
    if constexpr (M == 4) v[5] = vfma(vconst(-(kA2 + kB2)), d[3], vadd(d[1], d[5]));
  }
}

/// Gradient of the outputs: y[M] -> v[M + 2].
template <int M>
FC_INLINE void gradient_line(const Vec* y, Vec* v) {
  const Vec even_a = M > 2 ? vfma(vconst(kA2), y[M > 2 ? 2 : 0], y[0]) : y[0],
            even_b = M > 2 ? vfma(vconst(kB2), y[M > 2 ? 2 : 0], y[0]) : y[0];
  const Vec odd_a = M > 3 ? vfma(vconst(kA2), y[M > 3 ? 3 : 1], y[1]) : y[1],
            odd_b = M > 3 ? vfma(vconst(kB2), y[M > 3 ? 3 : 1], y[1]) : y[1];
  pair_of(kPointA, even_a, odd_a, &v[0], &v[1]);
  pair_of(kPointB, even_b, odd_b, &v[2], &v[3]);
  if constexpr (M > 2) v[4] = y[0];
  if constexpr (M > 3) v[5] = y[3];
}

/// Products to outputs: m[M + 2] -> y[M].
template <int M>
FC_INLINE void output_line(const Vec* m, Vec* y) {
  const Vec even_a = vadd(m[0], m[1]), odd_a = vsub(m[0], m[1]);
  const Vec even_b = vadd(m[2], m[3]), odd_b = vsub(m[2], m[3]);
  y[0] = vadd(even_a, even_b);
  if constexpr (M > 2) y[0] = vadd(y[0], m[4]);
  y[1] = vfma(vconst(kPointB), odd_b, vmul(vconst(kPointA), odd_a));
  if constexpr (M > 2) y[2] = vfma(vconst(kB2), even_b, vmul(vconst(kA2), even_a));
  if constexpr (M > 3) y[3] = vfma(vconst(kPointB * kB2), odd_b, vfma(vconst(kPointA * kA2), odd_a, m[5]));
}

/// w[3] -> u[6]
FC_INLINE void filter_line(const Vec* w, Vec* u) {
  const Vec even_a = vfma(vconst(kGainA * kA2), w[2], vmul(vconst(kGainA), w[0]));
  const Vec even_b = vfma(vconst(kGainB * kB2), w[2], vmul(vconst(kGainB), w[0]));
  pair_of(kGainA * kPointA, even_a, w[1], &u[0], &u[1]);
  pair_of(kGainB * kPointB, even_b, w[1], &u[2], &u[3]);
  u[4] = w[0];
  u[5] = w[2];
}

/// u[6] -> w[3]
FC_INLINE void filter_gradient_line(const Vec* u, Vec* w) {
  const Vec even_a = vadd(u[0], u[1]), odd_a = vsub(u[0], u[1]);
  const Vec even_b = vadd(u[2], u[3]), odd_b = vsub(u[2], u[3]);
  w[0] = vfma(vconst(kGainB), even_b, vfma(vconst(kGainA), even_a, u[4]));
  w[1] = vfma(vconst(kGainB * kPointB), odd_b, vmul(vconst(kGainA * kPointA), odd_a));
  w[2] = vfma(vconst(kGainB * kB2), even_b, vfma(vconst(kGainA * kA2), even_a, u[5]));
}

// The transforms as types: IN vectors in, OUT out.
template <int M>
struct InputLine {
  static constexpr int kIn = M + 2, kOut = M + 2;
  FC_INLINE static void run(const Vec* in, Vec* out) { input_line<M>(in, out); }
};
template <int M>
struct GradientLine {
  static constexpr int kIn = M, kOut = M + 2;
  FC_INLINE static void run(const Vec* in, Vec* out) { gradient_line<M>(in, out); }
};
template <int M>
struct OutputLine {
  static constexpr int kIn = M + 2, kOut = M;
  FC_INLINE static void run(const Vec* in, Vec* out) { output_line<M>(in, out); }
};
struct FilterLine {
  FC_INLINE static void run(const Vec* w, Vec* u) { filter_line(w, u); }
  FC_INLINE static void adjoint(const Vec* u, Vec* w) { filter_gradient_line(u, w); }
};

}  // namespace
}  // namespace fastcnn::cpu::FC_ISA
