// The fast depthwise kernels (interface in depthwise.h).
//
// depthwise_rows: two rows by four pixels of one vector of channels are eight sums in registers. A line's pixel is
// loaded once and enters all sums it belongs to, at most 2 x 4 of them, with filter vectors that are loaded once per
// line: some 40 loads for 72 multiply-adds at 3x3. Blocks at the borders, of fewer pixels or of fewer channels run the
// same code with tests.
// depthwise_sums: all taps of up to three lines are sums in registers while some pixels pass by.
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

/// One line into the sums of output row 0 (ROW0), row 1 (ROW1) or both.
template <int TAPS, int STRIDE, bool WHOLE, bool ROW0, bool ROW1>
FC_INLINE void depthwise_line(const DepthwiseLine& line, const DepthwiseBlock& b,
                              Vec (&sum0)[kDepthwisePixels], Vec (&sum1)[kDepthwisePixels]) {
  Vec w0[TAPS], w1[TAPS];
  int64_t at = b.channel;
#pragma GCC unroll 8
  for (int s = 0; s < TAPS; ++s, at += b.filter_step) {
    if (ROW0) w0[s] = load_lanes<WHOLE>(line.filter[0] + at, b.lanes);
    if (ROW1) w1[s] = load_lanes<WHOLE>(line.filter[1] + at, b.lanes);
  }
  int64_t offset = b.offset;
#pragma GCC unroll 16
  for (int j = 0; j < (kDepthwisePixels - 1) * STRIDE + TAPS; ++j, offset += b.line_step) {
    if (!WHOLE && (j < b.low || j >= b.high)) continue;
    const Vec x = load_lanes<WHOLE>(line.pixels + offset, b.lanes);
#pragma GCC unroll 4
    for (int i = 0; i < kDepthwisePixels; ++i) {
      const int s = j - i * STRIDE;
      if (s < 0 || s >= TAPS) continue;
      if (ROW0) sum0[i] = vfma(x, w0[s], sum0[i]);
      if (ROW1) sum1[i] = vfma(x, w1[s], sum1[i]);
    }
  }
}

template <bool WHOLE>
FC_INLINE void depthwise_store(const DepthwiseRows* d, float* out, const DepthwiseBlock& b,
                               Vec (&sum)[kDepthwisePixels]) {
#pragma GCC unroll 4
  for (int i = 0; i < kDepthwisePixels; ++i) {
    if (!WHOLE && i >= b.pixels) continue;
    Vec y = sum[i];
    if (d->scale)
      y = vfma(y, load_lanes<WHOLE>(d->scale + b.channel, b.lanes),
               load_lanes<WHOLE>(d->bias + b.channel, b.lanes));
    else if (d->bias)
      y = vadd(y, load_lanes<WHOLE>(d->bias + b.channel, b.lanes));
    y = vmin(vset(d->high), vmax(vset(d->low), y));
    float* at = out + i * b.out_step + b.channel;
    if (WHOLE)
      vstore(at, y);
    else
      vstore_part(at, y, b.lanes);
  }
}

template <int TAPS, int STRIDE, bool WHOLE>
FC_INLINE void depthwise_block(const DepthwiseRows* d, int64_t pixel, const DepthwiseBlock& b) {
  Vec sum0[kDepthwisePixels], sum1[kDepthwisePixels];
#pragma GCC unroll 4
  for (int i = 0; i < kDepthwisePixels; ++i) sum0[i] = sum1[i] = vzero();
  for (int64_t l = 0; l < d->line_count; ++l) {
    const DepthwiseLine& line = d->lines[l];
    if (!line.filter[1])
      depthwise_line<TAPS, STRIDE, WHOLE, true, false>(line, b, sum0, sum1);
    else if (!line.filter[0])
      depthwise_line<TAPS, STRIDE, WHOLE, false, true>(line, b, sum0, sum1);
    else
      depthwise_line<TAPS, STRIDE, WHOLE, true, true>(line, b, sum0, sum1);
  }
  depthwise_store<WHOLE>(d, d->out[0] + pixel * d->out_step, b, sum0);
  if (d->out[1]) depthwise_store<WHOLE>(d, d->out[1] + pixel * d->out_step, b, sum1);
}

template <int TAPS, int STRIDE>
void depthwise_rows(const DepthwiseRows* d) {
  constexpr int kColumns = (kDepthwisePixels - 1) * STRIDE + TAPS;
  for (int64_t first = 0; first < d->channels; first += d->channel_block) {
    const int64_t last = first + d->channel_block < d->channels ? first + d->channel_block : d->channels;
    for (int64_t pixel = 0; pixel < d->pixels; pixel += kDepthwisePixels) {
      // A short last block moves back over pixels that are done: computed again, to the same bits.
      if (d->pixels - pixel < kDepthwisePixels && d->pixels >= kDepthwisePixels)
        pixel = d->pixels - kDepthwisePixels;
      DepthwiseBlock b;
      b.line_step = d->line_step, b.filter_step = d->filter_step, b.out_step = d->out_step;
      b.pixels = d->pixels - pixel < kDepthwisePixels ? (int)(d->pixels - pixel) : kDepthwisePixels;
      const int64_t column = d->first + pixel * STRIDE, columns = d->extent - column;
      b.low = column >= 0 ? 0 : column < -kColumns ? kColumns : (int)-column;
      b.high = columns < 0 ? 0 : columns < kColumns ? (int)columns : kColumns;
      const bool inside = b.low == 0 && b.high == kColumns && b.pixels == kDepthwisePixels;
      b.lanes = kLanes;
      b.channel = first;
      if (inside)
        for (; b.channel + kLanes <= last; b.channel += kLanes) {
          b.offset = column * b.line_step + b.channel;
          depthwise_block<TAPS, STRIDE, true>(d, pixel, b);
        }
      for (; b.channel < last; b.channel += kLanes) {
        b.offset = column * b.line_step + b.channel;
        b.lanes = last - b.channel < kLanes ? (int)(last - b.channel) : kLanes;
        depthwise_block<TAPS, STRIDE, false>(d, pixel, b);
      }
    }
  }
}

struct DepthwiseRun {  // of pixels; those of inner_first .. inner_last - 1 have all taps inside
  int64_t first, inner_first, inner_last, last;
};

/// A run of pixels of LINES lines into their sums.
template <int TAPS, int STRIDE, int LINES, bool WHOLE>
FC_INLINE void depthwise_sum_lines(const DepthwiseSums* d, int64_t line, const DepthwiseRun& run,
                                   int64_t channel, int lanes) {
  Vec sum[LINES][TAPS];
#pragma GCC unroll 4
  for (int l = 0; l < LINES; ++l)
#pragma GCC unroll 8
    for (int s = 0; s < TAPS; ++s)
      sum[l][s] = load_lanes<WHOLE>(d->sums[line + l] + s * d->sum_step + channel, lanes);
  const int64_t step = d->line_step, dy_step = d->dy_step;
  const auto edge = [&](int64_t pixel) __attribute__((always_inline)) {
    const Vec dy = load_lanes<WHOLE>(d->dy + pixel * dy_step + channel, lanes);
    const int64_t column = d->first + pixel * STRIDE;
#pragma GCC unroll 8
    for (int s = 0; s < TAPS; ++s) {
      if (column + s < 0 || column + s >= d->extent) continue;
#pragma GCC unroll 4
      for (int l = 0; l < LINES; ++l) {
        const float* x = d->lines[line + l] + (column + s) * step + channel;
        sum[l][s] = vfma(load_lanes<WHOLE>(x, lanes), dy, sum[l][s]);
      }
    }
  };
  int64_t pixel = run.first;
  for (; pixel < run.inner_first; ++pixel) edge(pixel);
  if (pixel < run.inner_last) {
    const float* dy = d->dy + pixel * dy_step + channel;
    const float* x[LINES];
#pragma GCC unroll 4
    for (int l = 0; l < LINES; ++l) x[l] = d->lines[line + l] + (d->first + pixel * STRIDE) * step + channel;
    for (; pixel < run.inner_last; ++pixel, dy += dy_step) {
      const Vec g = load_lanes<WHOLE>(dy, lanes);
#pragma GCC unroll 4
      for (int l = 0; l < LINES; ++l) {
#pragma GCC unroll 8
        for (int s = 0; s < TAPS; ++s)
          sum[l][s] = vfma(load_lanes<WHOLE>(x[l] + s * step, lanes), g, sum[l][s]);
        x[l] += STRIDE * step;
      }
    }
  }
  for (; pixel < run.last; ++pixel) edge(pixel);
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
FC_INLINE void depthwise_sum_vector(const DepthwiseSums* d, const DepthwiseRun& run, int64_t channel,
                                    int lanes) {
  constexpr int kTogether = TAPS <= 3   ? 3
                            : TAPS <= 5 ? 2
                                        : 1;  // ten sums, an x and a dy: they fit 16 registers
  int64_t line = 0;
  for (; line + kTogether <= d->line_count; line += kTogether)
    depthwise_sum_lines<TAPS, STRIDE, kTogether, WHOLE>(d, line, run, channel, lanes);
  for (; line < d->line_count; ++line)
    depthwise_sum_lines<TAPS, STRIDE, 1, WHOLE>(d, line, run, channel, lanes);
}

template <int TAPS, int STRIDE>
void depthwise_sums(const DepthwiseSums* d) {
  constexpr int64_t kRun = 16;  // pixels per visit of a vector of channels: what the next reads is still near
  // All taps inside: first + pixel * STRIDE >= 0 and first + pixel * STRIDE + TAPS <= extent.
  const int64_t left = d->first < 0 ? (-d->first + STRIDE - 1) / STRIDE : 0;
  const int64_t room = d->extent - TAPS - d->first, right = room < 0 ? 0 : room / STRIDE + 1;
  for (int64_t first = 0; first < d->pixels; first += kRun) {
    DepthwiseRun run;
    run.first = first;
    run.last = first + kRun < d->pixels ? first + kRun : d->pixels;
    run.inner_first = left < first ? first : left < run.last ? left : run.last;
    run.inner_last = right < run.inner_first ? run.inner_first : right < run.last ? right : run.last;
    int64_t c = 0;
    for (; c + kLanes <= d->channels; c += kLanes)
      depthwise_sum_vector<TAPS, STRIDE, true>(d, run, c, kLanes);
    if (c < d->channels) depthwise_sum_vector<TAPS, STRIDE, false>(d, run, c, (int)(d->channels - c));
  }
}

}  // namespace
}  // namespace fastcnn::cpu::FC_ISA
