// Gradient of depthwise filters (interface in depthwise.h). All taps of up to three lines are sums in registers while some
// pixels pass by, four at a time: each pixel of a line is loaded once and enters the sums of all taps that see it, some
// 22 loads for 36 multiply-adds at 3x3. Blocks at the borders run the same code with tests.
#pragma once

#include "cpu/kernels/depthwise.h"
#include "cpu/kernels/depthwise_rows.inl"
#include "cpu/kernels/vec.h"

namespace fastcnn::cpu::FC_ISA {
namespace {

constexpr int kSumBlocks = 2;  // visited before the next vector of channels: what that reads is still near
constexpr int kCopiedSumBlocks = 4;  // where lines were copied just now, all of what they read is

/// Four pixels of dy. Offsets are in elements from channel 0 of dy, and of the lines (may lie outside of them).
struct DepthwiseSumBlock {
  int64_t dy, x;
  int low, high, pixels;  ///< columns and pixels that exist
  bool inside;            ///< all of them
};

template <int TAPS, int STRIDE, int LINES, DepthwiseTests T>
FC_INLINE void depthwise_sum_block(const DepthwiseSums* d, const float* const* lines, bool last,
                                   const DepthwiseSumBlock& b, int64_t channel, int lanes,
                                   Vec (&sum)[LINES][TAPS]) {
  constexpr int kColumns = (kDepthwisePixels - 1) * STRIDE + TAPS, kFresh = kDepthwisePixels * STRIDE;
  const DepthwisePointers<kDepthwisePixels> dy(d->dy + b.dy + channel, d->dy_step);
  const int64_t dy_ahead = d->dy_ahead, ahead = d->line_ahead;
  Vec g[kDepthwisePixels];
#pragma GCC unroll 4
  for (int i = 0; i < kDepthwisePixels; ++i) {
    g[i] = T == kInside || i < b.pixels ? load_tested<T>(dy.at(i), lanes) : vzero();
    if (T == kInside && dy_ahead) __builtin_prefetch(dy.at(i) + dy_ahead, 0, 2);
  }
#pragma GCC unroll 4
  for (int l = 0; l < LINES; ++l) {
    const DepthwisePointers<kColumns> x(lines[l] + b.x + channel, d->line_step);
    if (T == kInside && l >= LINES - STRIDE && last && ahead) {  // the row before did not read these lines
      const DepthwisePointers<kFresh> next(lines[l] + b.x + channel + ahead, d->line_step);
#pragma GCC unroll 8
      for (int j = 0; j < kFresh; ++j) __builtin_prefetch(next.at(j), 0, 2);
    }
#pragma GCC unroll 16
    for (int j = 0; j < kColumns; ++j) {
      if (T != kInside && (j < b.low || j >= b.high)) continue;
      const Vec v = load_tested<T>(x.at(j), lanes);
#pragma GCC unroll 4
      for (int i = 0; i < kDepthwisePixels; ++i) {
        const int s = j - i * STRIDE;
        if (s < 0 || s >= TAPS || (T != kInside && i >= b.pixels)) continue;
        sum[l][s] = vfma(v, g[i], sum[l][s]);
      }
    }
  }
}

/// Some blocks of pixels of LINES lines, one vector of channels.
template <int TAPS, int STRIDE, int LINES, bool WHOLE>
FC_INLINE void depthwise_sum_lines(const DepthwiseSums* d, int64_t line, const DepthwiseSumBlock* block,
                                   int blocks, int64_t channel, int lanes) {
  Vec sum[LINES][TAPS];
#pragma GCC unroll 4
  for (int l = 0; l < LINES; ++l)
#pragma GCC unroll 8
    for (int s = 0; s < TAPS; ++s)
      sum[l][s] = load_lanes<WHOLE>(d->sums[line + l] + s * d->sum_step + channel, lanes);
  const bool last = line + LINES == d->line_count;
  for (int k = 0; k < blocks; ++k)
    if (WHOLE && block[k].inside)
      depthwise_sum_block<TAPS, STRIDE, LINES, kInside>(d, d->lines + line, last, block[k], channel, lanes,
                                                        sum);
    else
      depthwise_sum_block<TAPS, STRIDE, LINES, WHOLE ? kBorder : kTail>(d, d->lines + line, last, block[k],
                                                                        channel, lanes, sum);
#pragma GCC unroll 4
  for (int l = 0; l < LINES; ++l)
#pragma GCC unroll 8
    for (int s = 0; s < TAPS; ++s) {
      float* at = d->sums[line + l] + s * d->sum_step + channel;
      if (WHOLE)
        vstore(at, sum[l][s]);
      else
        vstore_part(at, sum[l][s], lanes);
    }
}

template <int TAPS, int STRIDE, bool WHOLE>
FC_INLINE void depthwise_sum_vector(const DepthwiseSums* d, const DepthwiseSumBlock* block, int blocks,
                                    int64_t channel, int lanes) {
  constexpr int kTogether = TAPS <= 3   ? 3
                            : TAPS <= 5 ? 2
                                        : 1;  // ten sums, four of dy and an x: they fit 16 registers
  int64_t line = 0;
  for (; line + kTogether <= d->line_count; line += kTogether)
    depthwise_sum_lines<TAPS, STRIDE, kTogether, WHOLE>(d, line, block, blocks, channel, lanes);
  for (; line < d->line_count; ++line)
    depthwise_sum_lines<TAPS, STRIDE, 1, WHOLE>(d, line, block, blocks, channel, lanes);
}

template <int TAPS, int STRIDE>
void depthwise_sums(const DepthwiseSums* d) {
  constexpr int kColumns = (kDepthwisePixels - 1) * STRIDE + TAPS;
  const int most = d->copied ? kCopiedSumBlocks : kSumBlocks;
  for (int64_t pixel = 0; pixel < d->pixels;) {
    DepthwiseSumBlock block[kCopiedSumBlocks];
    int blocks = 0;
    for (; blocks < most && pixel < d->pixels; ++blocks, pixel += kDepthwisePixels) {
      const int64_t column = d->first + pixel * STRIDE, columns = d->extent - column;
      DepthwiseSumBlock& b = block[blocks];
      b.dy = pixel * d->dy_step;
      b.x = column * d->line_step;
      b.low = column >= 0 ? 0 : column < -kColumns ? kColumns : (int)-column;
      b.high = columns < 0 ? 0 : columns < kColumns ? (int)columns : kColumns;
      b.pixels = d->pixels - pixel < kDepthwisePixels ? (int)(d->pixels - pixel) : kDepthwisePixels;
      b.inside = b.low == 0 && b.high == kColumns && b.pixels == kDepthwisePixels;
    }
    int64_t c = 0;
    for (; c + kLanes <= d->channels; c += kLanes)
      depthwise_sum_vector<TAPS, STRIDE, true>(d, block, blocks, c, kLanes);
    if (c < d->channels)
      depthwise_sum_vector<TAPS, STRIDE, false>(d, block, blocks, c, (int)(d->channels - c));
  }
}

}  // namespace
}  // namespace fastcnn::cpu::FC_ISA
