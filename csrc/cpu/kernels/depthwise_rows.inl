// Two rows of a depthwise convolution (interface in depthwise.h): two rows by four pixels of one vector of channels are
// eight sums in registers. A line's pixel is
// loaded once and enters all sums it belongs to, at most 2 x 4 of them, with filter vectors that are loaded once per
// line: some 40 loads for 72 multiply-adds at 3x3. Blocks at the borders, of fewer pixels or of fewer channels run the
// same code with tests.
#pragma once

#include "cpu/kernels/depthwise.h"
#include "cpu/kernels/vec.h"

namespace fastcnn::cpu::FC_ISA {
namespace {

constexpr int kDepthwisePixels = 4;

/// Where a block lies: elements from a line's start to its column 0 (may lie outside), columns that exist, lanes that
/// exist. Steps are copies, so that they stay in registers across stores.
struct DepthwiseBlock {
  int64_t offset, channel;
  int64_t line_step, filter_step, out_step;
  int low, high, lanes, pixels;
};

template <bool WHOLE>
FC_INLINE Vec load_lanes(const float* p, int lanes) {
  return WHOLE ? vload(p) : vload_part(p, lanes);
}

/// Which tests a block needs: none; which columns and pixels exist; also which lanes.
enum DepthwiseTests { kInside, kBorder, kTail };

template <DepthwiseTests T>
FC_INLINE Vec load_tested(const float* p, int lanes) {
  return load_lanes<T != kTail>(p, lanes);
}

/// Element j * step from the start, for j that are known when compiled: one pointer for three of them (base, base + step,
/// base + 2 step) keeps the address registers few.
template <int N>
struct DepthwisePointers {
  const float* base[(N + 2) / 3];
  int64_t step;
  FC_INLINE DepthwisePointers(const float* start, int64_t s) : step(s) {
#pragma GCC unroll 8
    for (int g = 0; g < (N + 2) / 3; ++g) base[g] = start + 3 * g * s;
  }
  FC_INLINE const float* at(int j) const { return base[j / 3] + j % 3 * step; }
};

/// One line into the sums of output row 0 (ROW0), row 1 (ROW1) or both.
template <int TAPS, int STRIDE, DepthwiseTests T, bool ROW0, bool ROW1>
FC_INLINE void depthwise_line(const DepthwiseLine& line, const DepthwiseBlock& b,
                              Vec (&sum0)[kDepthwisePixels], Vec (&sum1)[kDepthwisePixels]) {
  constexpr int kColumns = (kDepthwisePixels - 1) * STRIDE + TAPS, kFresh = kDepthwisePixels * STRIDE;
  Vec w0[TAPS], w1[TAPS];
  const DepthwisePointers<TAPS> filter0(line.filter[ROW0 ? 0 : 1] + b.channel, b.filter_step);
  const DepthwisePointers<TAPS> filter1(line.filter[ROW1 ? 1 : 0] + b.channel, b.filter_step);
#pragma GCC unroll 8
  for (int s = 0; s < TAPS; ++s) {
    if (ROW0) w0[s] = load_tested<T>(filter0.at(s), b.lanes);
    if (ROW1) w1[s] = load_tested<T>(filter1.at(s), b.lanes);
  }
  const DepthwisePointers<kColumns> x(line.pixels + b.offset, b.line_step);
  if (T == kInside && line.ahead) {
    const DepthwisePointers<kFresh> ahead(line.pixels + b.offset + line.ahead, b.line_step);
#pragma GCC unroll 8
    for (int j = 0; j < kFresh; ++j) __builtin_prefetch(ahead.at(j), 0, 2);
  }
#pragma GCC unroll 16
  for (int j = 0; j < kColumns; ++j) {
    if (T != kInside && (j < b.low || j >= b.high)) continue;
    const Vec v = load_tested<T>(x.at(j), b.lanes);
#pragma GCC unroll 4
    for (int i = 0; i < kDepthwisePixels; ++i) {
      const int s = j - i * STRIDE;
      if (s < 0 || s >= TAPS) continue;
      if (ROW0) sum0[i] = vfma(v, w0[s], sum0[i]);
      if (ROW1) sum1[i] = vfma(v, w1[s], sum1[i]);
    }
  }
}

template <DepthwiseTests T, int PIXELS>
FC_INLINE void depthwise_store(const DepthwiseRows* d, float* out, const DepthwiseBlock& b,
                               Vec (&sum)[PIXELS]) {
  const DepthwisePointers<PIXELS> to(out + b.channel, b.out_step);
  Vec scale = vset(1.0f), bias = vzero();
  if (d->scale) scale = load_tested<T>(d->scale + b.channel, b.lanes);
  if (d->bias) bias = load_tested<T>(d->bias + b.channel, b.lanes);
  const Vec low = vset(d->low), high = vset(d->high);
  const int64_t ahead = d->out_ahead;
#pragma GCC unroll 4
  for (int i = 0; i < PIXELS; ++i) {
    if (T != kInside && i >= b.pixels) continue;
    const Vec y = vmin(high, vmax(low, d->bias ? vfma(sum[i], scale, bias) : sum[i]));
    float* at = const_cast<float*>(to.at(i));
    if (T == kInside && ahead) __builtin_prefetch(at + ahead, 1, 2);
    if (T == kTail)
      vstore_part(at, y, b.lanes);
    else
      vstore(at, y);
  }
}

template <int TAPS, int STRIDE, DepthwiseTests T>
FC_INLINE void depthwise_block(const DepthwiseRows* d, int64_t pixel, const DepthwiseBlock& b) {
  Vec sum0[kDepthwisePixels], sum1[kDepthwisePixels];
#pragma GCC unroll 4
  for (int i = 0; i < kDepthwisePixels; ++i) sum0[i] = sum1[i] = vzero();
  for (int64_t l = 0; l < d->line_count; ++l) {
    const DepthwiseLine& line = d->lines[l];
    if (!line.filter[1])
      depthwise_line<TAPS, STRIDE, T, true, false>(line, b, sum0, sum1);
    else if (!line.filter[0])
      depthwise_line<TAPS, STRIDE, T, false, true>(line, b, sum0, sum1);
    else
      depthwise_line<TAPS, STRIDE, T, true, true>(line, b, sum0, sum1);
  }
  depthwise_store<T>(d, d->out[0] + pixel * d->out_step, b, sum0);
  if (d->out[1]) depthwise_store<T>(d, d->out[1] + pixel * d->out_step, b, sum1);
}

/// The whole vectors among channels first .. last - 1; returns the first channel that is left.
template <int TAPS, int STRIDE, DepthwiseTests T>
int64_t depthwise_vectors(const DepthwiseRows* d, int64_t pixel, int64_t column, DepthwiseBlock b,
                          int64_t first, int64_t last) {
  for (b.channel = first; b.channel + kLanes <= last; b.channel += kLanes) {
    b.offset = column * b.line_step + b.channel;
    depthwise_block<TAPS, STRIDE, T>(d, pixel, b);
  }
  return b.channel;
}

/// Calls f(pixel, column, block, inside, first, last) for the blocks of a row, of channels first .. last - 1 each.
template <int TAPS, int STRIDE, int PIXELS, class F>
FC_INLINE void depthwise_each_block(const DepthwiseRows* d, F&& f) {
  constexpr int kColumns = (PIXELS - 1) * STRIDE + TAPS;
  for (int64_t first = 0; first < d->channels; first += d->channel_block) {
    const int64_t last = first + d->channel_block < d->channels ? first + d->channel_block : d->channels;
    for (int64_t pixel = 0; pixel < d->pixels; pixel += PIXELS) {
      // A short last block moves back over pixels that are done: computed again, to the same bits.
      if (d->pixels - pixel < PIXELS && d->pixels >= PIXELS) pixel = d->pixels - PIXELS;
      DepthwiseBlock b;
      b.line_step = d->line_step, b.filter_step = d->filter_step, b.out_step = d->out_step;
      b.pixels = d->pixels - pixel < PIXELS ? (int)(d->pixels - pixel) : PIXELS;
      const int64_t column = d->first + pixel * STRIDE, columns = d->extent - column;
      b.low = column >= 0 ? 0 : column < -kColumns ? kColumns : (int)-column;
      b.high = columns < 0 ? 0 : columns < kColumns ? (int)columns : kColumns;
      b.lanes = kLanes;
      f(pixel, column, b, b.low == 0 && b.high == kColumns && b.pixels == PIXELS, first, last);
    }
  }
}

template <int TAPS, int STRIDE>
void depthwise_rows(const DepthwiseRows* d) {
  depthwise_each_block<TAPS, STRIDE, kDepthwisePixels>(
      d, [&](int64_t pixel, int64_t column, DepthwiseBlock b, bool inside, int64_t first,
             int64_t last) __attribute__((always_inline)) {
        b.channel = inside ? depthwise_vectors<TAPS, STRIDE, kInside>(d, pixel, column, b, first, last)
                           : depthwise_vectors<TAPS, STRIDE, kBorder>(d, pixel, column, b, first, last);
        if (b.channel < last) {
          b.offset = column * b.line_step + b.channel;
          b.lanes = (int)(last - b.channel);
          depthwise_block<TAPS, STRIDE, kTail>(d, pixel, b);
        }
      });
}

}  // namespace
}  // namespace fastcnn::cpu::FC_ISA
