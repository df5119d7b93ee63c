// Winograd transforms (interface in winograd.h): a one-dimensional transform along the height, then along the width.
// The vectors in between (at most 81) live on the stack, in L1.
#pragma once

#include "cpu/kernels/vec.h"
#include "cpu/kernels/winograd.h"
#include "cpu/kernels/winograd_stride1.inl"
#include "cpu/kernels/winograd_stride2.inl"

namespace fastcnn::cpu::FC_ISA {
namespace {

template <class Down, class Across, bool kPart>
FC_INLINE void load_vector(const WinogradLoad* t, int64_t c, int lanes) {
  Vec middle[Down::kOut][Across::kIn];
  for (int j = 0; j < Across::kIn; ++j) {
    Vec in[Down::kIn], out[Down::kOut];
#pragma GCC unroll 9
    for (int i = 0; i < Down::kIn; ++i) {
      const float* p = t->pixel[i * Across::kIn + j] + c;
      in[i] = kPart ? vload_part(p, lanes) : vload(p);
    }
    Down::run(in, out);
#pragma GCC unroll 9
    for (int i = 0; i < Down::kOut; ++i) middle[i][j] = out[i];
  }
  float* to = t->to.data + c;
  for (int i = 0; i < Down::kOut; ++i, to += t->to.row) {
    Vec out[Across::kOut];
    Across::run(middle[i], out);
#pragma GCC unroll 9
    for (int j = 0; j < Across::kOut; ++j) vstore(to + j * t->to.column, out[j]);
  }
}

template <int R, int S, template <int> class Line>
void load_tile(const WinogradLoad* t) {
  int64_t c = 0;
  for (; c + kLanes <= t->channels; c += kLanes) load_vector<Line<R>, Line<S>, false>(t, c, kLanes);
  if (c < t->channels) load_vector<Line<R>, Line<S>, true>(t, c, static_cast<int>(t->channels - c));
}

template <class Down, class Across, bool kPart>
FC_INLINE void store_vector(const WinogradStore* t, int64_t c, int lanes) {
  Vec middle[Down::kOut][Across::kIn];
  for (int j = 0; j < Across::kIn; ++j) {
    Vec in[Down::kIn], out[Down::kOut];
    const float* from = t->from.data + j * t->from.column + c;
#pragma GCC unroll 9
    for (int i = 0; i < Down::kIn; ++i) in[i] = vload(from + i * t->from.row);
    Down::run(in, out);
#pragma GCC unroll 8
    for (int i = 0; i < Down::kOut; ++i) middle[i][j] = out[i];
  }
  const auto vector = [=](const float* p, Vec missing) __attribute__((always_inline)) {
    return !p ? missing : kPart ? vload_part(p + c, lanes) : vload(p + c);
  };
  const Vec scale = vector(t->scale, vset(1.0f)), bias = vector(t->bias, vzero());
  const Vec low = vset(t->low), high = vset(t->high);
  for (int i = t->first_row; i < t->end_row; ++i) {
    Vec out[Across::kOut];
    Across::run(middle[i], out);
    for (int j = t->first_col; j < t->end_col; ++j) {
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

template <int R, int S, template <int> class Line>
void store_tile(const WinogradStore* t) {
  int64_t c = 0;
  for (; c + kLanes <= t->channels; c += kLanes) store_vector<Line<R>, Line<S>, false>(t, c, kLanes);
  if (c < t->channels) store_vector<Line<R>, Line<S>, true>(t, c, static_cast<int>(t->channels - c));
}

template <template <int> class Line>
void load_any(const WinogradLoad* t) {
  constexpr void (*kTile[3][3])(const WinogradLoad*) = {
      {load_tile<2, 2, Line>, load_tile<2, 3, Line>, load_tile<2, 4, Line>},
      {load_tile<3, 2, Line>, load_tile<3, 3, Line>, load_tile<3, 4, Line>},
      {load_tile<4, 2, Line>, load_tile<4, 3, Line>, load_tile<4, 4, Line>}};
  kTile[t->rows - 2][t->cols - 2](t);
}

template <template <int> class Line>
void store_any(const WinogradStore* t) {
  constexpr void (*kTile[3][3])(const WinogradStore*) = {
      {store_tile<2, 2, Line>, store_tile<2, 3, Line>, store_tile<2, 4, Line>},
      {store_tile<3, 2, Line>, store_tile<3, 3, Line>, store_tile<3, 4, Line>},
      {store_tile<4, 2, Line>, store_tile<4, 3, Line>, store_tile<4, 4, Line>}};
  kTile[t->rows - 2][t->cols - 2](t);
}

template <class Line, bool kStream>
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
        Line::run(in, out);
#pragma GCC unroll 6
        for (int i = 0; i < kWinogradPoints; ++i) middle[i][s] = out[i];
      }
      float* to = t->values.data + row * t->values_row + lane;
      for (int i = 0; i < t->points_h; ++i, to += t->values.row) {
        Vec out[kWinogradPoints];
        Line::run(middle[i], out);
        for (int j = 0; j < t->points_w; ++j)
          if (kStream)
            vstream(to + j * t->values.column, out[j]);
          else
            vstore(to + j * t->values.column, out[j]);
      }
    }
  if (kStream) stream_done();
}

template <class Line>
void filter_any(const WinogradFilter* t) {
  if (t->stream)
    filter_rows<Line, true>(t);
  else
    filter_rows<Line, false>(t);
}

template <class Line>
void filter_gradient(const WinogradFilter* t) {
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
        Line::adjoint(in, out);
#pragma GCC unroll 3
        for (int r = 0; r < 3; ++r) middle[r][j] = out[r];
      }
      float* taps = t->taps + row * t->taps_row + lane;
#pragma GCC unroll 3
      for (int r = 0; r < 3; ++r) {
        Vec out[3];
        Line::adjoint(middle[r], out);
#pragma GCC unroll 3
        for (int s = 0; s < 3; ++s) vstore(taps + (3 * r + s) * t->tap, out[s]);
      }
    }
}

constexpr WinogradKernels kWinograd = {
    {{load_any<InputLine>, store_any<OutputLine>, filter_any<FilterLine>, load_any<GradientLine>,
      filter_gradient<FilterLine>},
     {load_any<Stride2InputLine>, store_any<Stride2OutputLine>, filter_any<Stride2FilterLine>,
      load_any<Stride2AdjointLine>, filter_gradient<Stride2FilterLine>},
     {load_any<Stride2GradientInputLine>, store_any<Stride2GradientOutputLine>, filter_any<Stride2FilterLine>,
      nullptr, nullptr}}};

}  // namespace
}  // namespace fastcnn::cpu::FC_ISA
