// Gradient of 3x3 depthwise filters at stride 1, several rows of dy at a time (interface in depthwise.h): a pixel of a
// line enters the sums of up to three taps of its column, with the dy of as many rows, so that four rows need 22 loads for
// 36 multiply-adds where rows one by one need 40, and lines come from the next cache 1.5 times per row instead of three.
#pragma once

#include "cpu/kernels/depthwise.h"
#include "cpu/kernels/depthwise_sums.inl"
#include "cpu/kernels/vec.h"

namespace fastcnn::cpu::FC_ISA {
namespace {

/// One pixel of each row. BORDER: columns may lie outside. FETCH: what the next rows are the first to read.
template <int ROWS, bool WHOLE, bool BORDER, bool FETCH>
FC_INLINE void row_sums_pixel(const DepthwiseRowSums* d, int64_t at, int64_t dy_at, int64_t column, int lanes,
                              Vec (&sum)[3][3]) {
  const int64_t step = d->line_step;
  Vec g[ROWS];
#pragma GCC unroll 4
  for (int o = 0; o < ROWS; ++o) {
    g[o] = load_lanes<WHOLE>(d->dy[o] + dy_at, lanes);
    if (FETCH && d->dy_ahead) __builtin_prefetch(d->dy[o] + dy_at + d->dy_ahead, 0, 2);
  }
#pragma GCC unroll 6
  for (int l = 0; l < ROWS + 2; ++l) {
    const float* line = d->line[l];
    if (!line) continue;
    line += at;
    if (FETCH && l >= 2 && d->line_ahead) __builtin_prefetch(line + d->line_ahead, 0, 2);
#pragma GCC unroll 3
    for (int s = 0; s < 3; ++s) {
      if (BORDER && (column + s < 0 || column + s >= d->extent)) continue;
      const Vec v = load_lanes<WHOLE>(line + s * step, lanes);
#pragma GCC unroll 4
      for (int o = 0; o < ROWS; ++o)
        if (l - o >= 0 && l - o < 3) sum[l - o][s] = vfma(v, g[o], sum[l - o][s]);
    }
  }
}

template <int ROWS, bool WHOLE>
FC_INLINE void row_sums_run(const DepthwiseRowSums* d, const DepthwiseRun& run, int64_t channel, int lanes) {
  Vec sum[3][3];
#pragma GCC unroll 3
  for (int r = 0; r < 3; ++r)
#pragma GCC unroll 3
    for (int s = 0; s < 3; ++s)
      sum[r][s] = load_lanes<WHOLE>(d->sums + (r * 3 + s) * d->sum_step + channel, lanes);
  int64_t pixel = run.first, at = (d->first + pixel) * d->line_step + channel,
          dy_at = pixel * d->dy_step + channel;
  const auto next = [&]() __attribute__((always_inline)) {
    ++pixel, at += d->line_step, dy_at += d->dy_step;
  };
  for (; pixel < run.inside; next())
    row_sums_pixel<ROWS, WHOLE, true, false>(d, at, dy_at, d->first + pixel, lanes, sum);
  if (WHOLE && (d->line_ahead || d->dy_ahead))
    for (; pixel < run.outside; next()) row_sums_pixel<ROWS, WHOLE, false, true>(d, at, dy_at, 0, lanes, sum);
  for (; pixel < run.outside; next()) row_sums_pixel<ROWS, WHOLE, false, false>(d, at, dy_at, 0, lanes, sum);
  for (; pixel < run.last; next())
    row_sums_pixel<ROWS, WHOLE, true, false>(d, at, dy_at, d->first + pixel, lanes, sum);
#pragma GCC unroll 3
  for (int r = 0; r < 3; ++r)
#pragma GCC unroll 3
    for (int s = 0; s < 3; ++s) {
      float* to = d->sums + (r * 3 + s) * d->sum_step + channel;
      if (WHOLE)
        vstore(to, sum[r][s]);
      else
        vstore_part(to, sum[r][s], lanes);
    }
}

template <int ROWS>
void depthwise_row_sums(const DepthwiseRowSums* d) {
  depthwise_each_run<3, 1>(
      d->first, d->extent, d->pixels,
      d->line_step, [&](const DepthwiseRun& run) __attribute__((always_inline)) {
        int64_t c = 0;
        for (; c + kLanes <= d->channels; c += kLanes) row_sums_run<ROWS, true>(d, run, c, kLanes);
        if (c < d->channels) row_sums_run<ROWS, false>(d, run, c, (int)(d->channels - c));
      });
}

}  // namespace
}  // namespace fastcnn::cpu::FC_ISA
