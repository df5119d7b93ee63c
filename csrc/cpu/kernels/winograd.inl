// Winograd transforms (interface in winograd.h): a one-dimensional transform along the height, then along the width.
// The vectors in between (at most 36) live on the stack, in L1.
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

/// One direction of a load: `line` of INS vectors in, OUTS out.
template <int M, bool kGradient>
struct LoadLine {
  static constexpr int kIns = kGradient ? M : M + 2;
  FC_INLINE static void run(const Vec* in, Vec* out) {
    if constexpr (kGradient)
      gradient_line<M>(in, out);
    else
      input_line<M>(in, out);
  }
};

template <int R, int S, bool kGradient, bool kPart>
FC_INLINE void load_vector(const WinogradLoad* t, int64_t c, int lanes) {
  using Down = LoadLine<R, kGradient>;
  using Across = LoadLine<S, kGradient>;
  Vec middle[R + 2][Across::kIns];
  for (int j = 0; j < Across::kIns; ++j) {
    Vec in[Down::kIns], out[R + 2];
#pragma GCC unroll 6
    for (int i = 0; i < Down::kIns; ++i) {
      const float* p = t->pixel[i * Across::kIns + j] + c;
      in[i] = kPart ? vload_part(p, lanes) : vload(p);
    }
    Down::run(in, out);
#pragma GCC unroll 6
    for (int i = 0; i < R + 2; ++i) middle[i][j] = out[i];
  }
  float* to = t->to.data + c;
  for (int i = 0; i < R + 2; ++i, to += t->to.row) {
    Vec out[S + 2];
    Across::run(middle[i], out);
#pragma GCC unroll 6
    for (int j = 0; j < S + 2; ++j) vstore(to + j * t->to.column, out[j]);
  }
}

template <int R, int S, bool kGradient>
void load_tile(const WinogradLoad* t) {
  int64_t c = 0;
  for (; c + kLanes <= t->channels; c += kLanes) load_vector<R, S, kGradient, false>(t, c, kLanes);
  if (c < t->channels) load_vector<R, S, kGradient, true>(t, c, static_cast<int>(t->channels - c));
}

template <int R, int S, bool kPart>
FC_INLINE void store_vector(const WinogradStore* t, int64_t c, int lanes) {
  Vec middle[R][S + 2];
  for (int j = 0; j < S + 2; ++j) {
    Vec in[R + 2], out[R];
    const float* from = t->from.data + j * t->from.column + c;
#pragma GCC unroll 6
    for (int i = 0; i < R + 2; ++i) in[i] = vload(from + i * t->from.row);
    output_line<R>(in, out);
#pragma GCC unroll 4
    for (int i = 0; i < R; ++i) middle[i][j] = out[i];
  }
  const auto vector = [=](const float* p, Vec missing) __attribute__((always_inline)) {
    return !p ? missing : kPart ? vload_part(p + c, lanes) : vload(p + c);
  };
  const Vec scale = vector(t->scale, vset(1.0f)), bias = vector(t->bias, vzero());
  const Vec low = vset(t->low), high = vset(t->high);
  for (int i = 0; i < t->valid_rows; ++i) {
    Vec out[S];
    output_line<S>(middle[i], out);
    for (int j = 0; j < t->valid_cols; ++j) {
      Vec y = vfma(out[j], scale, bias);
      if (t->residual) {
        const float* add = t->residual + i * t->residual_row + j * t->residual_col + c;
        y = vadd(y, kPart ? vload_part(add, lanes) : vload(add));
      }
      y = vmin(high, vmax(low, y));
      float* to = t->out + i * t->out_row + j * t->out_col + c;
      if (kPart)
        vstore_part(to, y, lanes);
      else
        vstore(to, y);
    }
  }
}

template <int R, int S>
void store_tile(const WinogradStore* t) {
  int64_t c = 0;
  for (; c + kLanes <= t->channels; c += kLanes) store_vector<R, S, false>(t, c, kLanes);
  if (c < t->channels) store_vector<R, S, true>(t, c, static_cast<int>(t->channels - c));
}

void winograd_input(const WinogradLoad* t) {
  constexpr void (*kTile[3][3])(const WinogradLoad*) = {
      {load_tile<2, 2, false>, load_tile<2, 3, false>, load_tile<2, 4, false>},
      {load_tile<3, 2, false>, load_tile<3, 3, false>, load_tile<3, 4, false>},
      {load_tile<4, 2, false>, load_tile<4, 3, false>, load_tile<4, 4, false>}};
  kTile[t->rows - 2][t->cols - 2](t);
}

void winograd_gradient(const WinogradLoad* t) {
  constexpr void (*kTile[3][3])(const WinogradLoad*) = {
      {load_tile<2, 2, true>, load_tile<2, 3, true>, load_tile<2, 4, true>},
      {load_tile<3, 2, true>, load_tile<3, 3, true>, load_tile<3, 4, true>},
      {load_tile<4, 2, true>, load_tile<4, 3, true>, load_tile<4, 4, true>}};
  kTile[t->rows - 2][t->cols - 2](t);
}

void winograd_output(const WinogradStore* t) {
  constexpr void (*kTile[3][3])(const WinogradStore*) = {
      {store_tile<2, 2>, store_tile<2, 3>, store_tile<2, 4>},
      {store_tile<3, 2>, store_tile<3, 3>, store_tile<3, 4>},
      {store_tile<4, 2>, store_tile<4, 3>, store_tile<4, 4>}};
  kTile[t->rows - 2][t->cols - 2](t);
}

template <bool kStream>
void filter_rows(const WinogradFilter* t) {
  for (int64_t row = 0; row < t->rows; ++row)
    for (int64_t lane = 0; lane < t->lanes; lane += kLanes) {
      const float* taps = t->taps + row * t->taps_row + lane;
      Vec middle[kWinogradPoints][3];
#pragma GCC unroll 3
      for (int s = 0; s < 3; ++s) {
        const Vec in[3] = {vload(taps + s * t->tap), vload(taps + (3 + s) * t->tap),
                           vload(taps + (6 + s) * t->tap)};
        Vec out[kWinogradPoints];
        filter_line(in, out);
#pragma GCC unroll 6
        for (int i = 0; i < kWinogradPoints; ++i) middle[i][s] = out[i];
      }
      float* to = t->values.data + row * t->values_row + lane;
      for (int i = 0; i < t->points_h; ++i, to += t->values.row) {
        Vec out[kWinogradPoints];
        filter_line(middle[i], out);
        for (int j = 0; j < t->points_w; ++j)
          if (kStream)
            vstream(to + j * t->values.column, out[j]);
          else
            vstore(to + j * t->values.column, out[j]);
      }
    }
  if (kStream) stream_done();
}

void winograd_filter(const WinogradFilter* t) {
  if (t->stream)
    filter_rows<true>(t);
  else
    filter_rows<false>(t);
}

void winograd_filter_gradient(const WinogradFilter* t) {
  for (int64_t row = 0; row < t->rows; ++row)
    for (int64_t lane = 0; lane < t->lanes; lane += kLanes) {
      const float* from = t->values.data + row * t->values_row + lane;
      Vec middle[3][kWinogradPoints];
      for (int j = 0; j < kWinogradPoints; ++j) {
        Vec in[kWinogradPoints], out[3];
#pragma GCC unroll 6
        for (int i = 0; i < kWinogradPoints; ++i)
          in[i] = i < t->points_h && j < t->points_w ? vload(from + i * t->values.row + j * t->values.column)
                                                     : vzero();
        filter_gradient_line(in, out);
#pragma GCC unroll 3
        for (int r = 0; r < 3; ++r) middle[r][j] = out[r];
      }
      float* taps = t->taps + row * t->taps_row + lane;
#pragma GCC unroll 3
      for (int r = 0; r < 3; ++r) {
        Vec out[3];
        filter_gradient_line(middle[r], out);
#pragma GCC unroll 3
        for (int s = 0; s < 3; ++s) vstore(taps + (3 * r + s) * t->tap, out[s]);
      }
    }
}

constexpr WinogradKernels kWinograd = {winograd_input, winograd_gradient, winograd_output, winograd_filter,
                                       winograd_filter_gradient};

}  // namespace
}  // namespace fastcnn::cpu::FC_ISA
