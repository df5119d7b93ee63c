// Rows of a 3x3 depthwise convolution, several at a time (interface in depthwise.h), with all nine vectors of the filter in
// registers.
//
//   4 rows x 4 pixels   Sixteen sums. A pixel of a line is loaded once for up to 36 multiply-adds: 45 loads for 144 of
//                       them at stride 1, where two rows at a time need 42 for 72, and an output's share of what comes
//                       from the next cache falls by a quarter. It takes 32 registers.
//   2 rows x 1 pixel    All channels of a pixel, then the next pixel: lines are walked in the order of memory, which
//                       hardware fetches ahead. At stride 2, for what comes from memory and where pixels lie a power of
//                       two apart (at stride 1 the pairs of depthwise_rows.inl are faster).
#pragma once

#include "cpu/kernels/depthwise.h"
#include "cpu/kernels/depthwise_rows.inl"
#include "cpu/kernels/vec.h"

namespace fastcnn::cpu::FC_ISA {
namespace {

template <int STRIDE, int ROWS, int PIXELS, DepthwiseTests T>
FC_INLINE void quad_line(const DepthwiseQuad* d, int l, const DepthwiseBlock& b, const Vec (&w)[3][3],
                         Vec (&sum)[ROWS][PIXELS]) {
  constexpr int kColumns = (PIXELS - 1) * STRIDE + 3, kFresh = PIXELS * STRIDE;
  const float* line = d->line[l];
  if (!line) return;
  const DepthwisePointers<kColumns> x(line + b.offset, b.line_step);
  if (T == kInside && d->ahead[l]) {
    const DepthwisePointers<kFresh> ahead(line + b.offset + d->ahead[l], b.line_step);
#pragma GCC unroll 8
    for (int j = 0; j < kFresh; ++j) __builtin_prefetch(ahead.at(j), 0, 2);
  }
#pragma GCC unroll 9
  for (int j = 0; j < kColumns; ++j) {
    if (T != kInside && (j < b.low || j >= b.high)) continue;
    const Vec v = load_tested<T>(x.at(j), b.lanes);
#pragma GCC unroll 4
    for (int o = 0; o < ROWS; ++o) {
      const int r = l - o * STRIDE;
      if (r < 0 || r >= 3) continue;
#pragma GCC unroll 4
      for (int i = 0; i < PIXELS; ++i) {
        const int s = j - i * STRIDE;
        if (s >= 0 && s < 3) sum[o][i] = vfma(v, w[r][s], sum[o][i]);
      }
    }
  }
}

template <int STRIDE, int ROWS, int PIXELS, DepthwiseTests T>
FC_INLINE void quad_block(const DepthwiseQuad* d, int64_t pixel, const DepthwiseBlock& b) {
  Vec w[3][3], sum[ROWS][PIXELS];
#pragma GCC unroll 3
  for (int r = 0; r < 3; ++r)
#pragma GCC unroll 3
    for (int s = 0; s < 3; ++s)
      w[r][s] = load_tested<T>(d->filter + r * d->filter_row + s * b.filter_step + b.channel, b.lanes);
#pragma GCC unroll 4
  for (int o = 0; o < ROWS; ++o)
#pragma GCC unroll 4
    for (int i = 0; i < PIXELS; ++i) sum[o][i] = vzero();
#pragma GCC unroll 9
  for (int l = 0; l < (ROWS - 1) * STRIDE + 3; ++l) quad_line<STRIDE, ROWS, PIXELS, T>(d, l, b, w, sum);
#pragma GCC unroll 4
  for (int o = 0; o < ROWS; ++o)
    if (d->out[o]) depthwise_store<T>(&d->rows, d->out[o] + pixel * b.out_step, b, sum[o]);
}

template <int STRIDE, int ROWS, int PIXELS, DepthwiseTests T>
int64_t quad_vectors(const DepthwiseQuad* d, int64_t pixel, int64_t column, DepthwiseBlock b, int64_t first,
                     int64_t last) {
  for (b.channel = first; b.channel + kLanes <= last; b.channel += kLanes) {
    b.offset = column * b.line_step + b.channel;
    quad_block<STRIDE, ROWS, PIXELS, T>(d, pixel, b);
  }
  return b.channel;
}

template <int STRIDE, int ROWS, int PIXELS>
void depthwise_quads(const DepthwiseQuad* d) {
  depthwise_each_block<3, STRIDE, PIXELS>(
      &d->rows, [&](int64_t pixel, int64_t column, DepthwiseBlock b, bool inside, int64_t first,
                    int64_t last) __attribute__((always_inline)) {
        b.channel = inside ? quad_vectors<STRIDE, ROWS, PIXELS, kInside>(d, pixel, column, b, first, last)
                           : quad_vectors<STRIDE, ROWS, PIXELS, kBorder>(d, pixel, column, b, first, last);
        if (b.channel < last) {
          b.offset = column * b.line_step + b.channel;
          b.lanes = (int)(last - b.channel);
          quad_block<STRIDE, ROWS, PIXELS, kTail>(d, pixel, b);
        }
      });
}

}  // namespace
}  // namespace fastcnn::cpu::FC_ISA
