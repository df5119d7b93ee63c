// Gradient of depthwise filters (interface in depthwise.h). All taps of up to three lines are sums in registers while a
// run of pixels passes by, one vector of channels at a time. A pixel of dy is loaded once for all of them; those of the
// lines are operands of the multiply-adds, which load as many as they multiply: no slower than loading each once and
// keeping it for its taps, and the loop stays short enough to overlap with itself.
#pragma once

#include "cpu/kernels/depthwise.h"
#include "cpu/kernels/depthwise_rows.inl"
#include "cpu/kernels/vec.h"

namespace fastcnn::cpu::FC_ISA {
namespace {

/// Pixels that pass by, at most. Where they lie a power of two apart they share few sets of the nearest cache: fewer of
/// them stay there until the next channels come.
inline int64_t depthwise_longest_run(int64_t step) {
  return step % 512 == 0 ? 4 : step % 256 == 0 || step == 128 ? 8 : 16;
}

/// Pixels first .. last - 1 of dy, of which inside .. outside - 1 see all of their taps.
struct DepthwiseRun {
  int64_t first, inside, outside, last;
};

/// LINES lines and the first of `channel`'s lanes; the sums of one vector of channels.
template <int TAPS, int LINES>
struct DepthwiseSumVector {
  const float* x[LINES];  // from column 0
  const float* dy;
  int lanes;
  Vec sum[LINES][TAPS];
};

/// A pixel some of whose taps see columns outside of the line.
template <int TAPS, int STRIDE, int LINES, bool WHOLE>
FC_INLINE void depthwise_sum_border(const DepthwiseSums* d, int64_t pixel,
                                    DepthwiseSumVector<TAPS, LINES>& v) {
  const Vec g = load_lanes<WHOLE>(v.dy + pixel * d->dy_step, v.lanes);
  const int64_t column = d->first + pixel * STRIDE;
#pragma GCC unroll 8
  for (int s = 0; s < TAPS; ++s) {
    if (column + s < 0 || column + s >= d->extent) continue;
#pragma GCC unroll 4
    for (int l = 0; l < LINES; ++l)
      v.sum[l][s] = vfma(load_lanes<WHOLE>(v.x[l] + (column + s) * d->line_step, v.lanes), g, v.sum[l][s]);
  }
}

/// FETCH: what the next row is the first to read, `STRIDE` lines and dy, is fetched.
template <int TAPS, int STRIDE, int LINES, bool WHOLE, bool FETCH>
FC_INLINE void depthwise_sum_inside(const DepthwiseSums* d, int64_t first, int64_t last,
                                    DepthwiseSumVector<TAPS, LINES>& v) {
  constexpr int kFresh = LINES < STRIDE ? LINES : STRIDE;
  const int64_t step = d->line_step, dy_step = d->dy_step, ahead = d->line_ahead, dy_ahead = d->dy_ahead;
  const float *dy = v.dy + first * dy_step, *x[LINES];
#pragma GCC unroll 4
  for (int l = 0; l < LINES; ++l) x[l] = v.x[l] + (d->first + first * STRIDE) * step;
  for (int64_t pixel = first; pixel < last; ++pixel) {
    const Vec g = load_lanes<WHOLE>(dy, v.lanes);
    if (FETCH) {
      __builtin_prefetch(dy + dy_ahead, 0, 2);
#pragma GCC unroll 4
      for (int l = LINES - kFresh; l < LINES; ++l)
#pragma GCC unroll 4
        for (int s = 0; s < STRIDE; ++s) __builtin_prefetch(x[l] + s * step + ahead, 0, 2);
    }
    dy += dy_step;
#pragma GCC unroll 4
    for (int l = 0; l < LINES; ++l) {
      const DepthwisePointers<TAPS> at(x[l], step);
#pragma GCC unroll 8
      for (int s = 0; s < TAPS; ++s) v.sum[l][s] = vfma(load_lanes<WHOLE>(at.at(s), v.lanes), g, v.sum[l][s]);
      x[l] += STRIDE * step;
    }
  }
}

/// A run of pixels of lines line .. line + LINES - 1, one vector of channels.
template <int TAPS, int STRIDE, int LINES, bool WHOLE>
FC_INLINE void depthwise_sum_lines(const DepthwiseSums* d, int64_t line, const DepthwiseRun& run,
                                   int64_t channel, int lanes) {
  DepthwiseSumVector<TAPS, LINES> v;
  v.dy = d->dy + channel;
  v.lanes = lanes;
#pragma GCC unroll 4
  for (int l = 0; l < LINES; ++l) {
    v.x[l] = d->lines[line + l] + channel;
#pragma GCC unroll 8
    for (int s = 0; s < TAPS; ++s)
      v.sum[l][s] = load_lanes<WHOLE>(d->sums[line + l] + s * d->sum_step + channel, lanes);
  }
  for (int64_t pixel = run.first; pixel < run.inside; ++pixel)
    depthwise_sum_border<TAPS, STRIDE, LINES, WHOLE>(d, pixel, v);
  const bool fetch = (d->line_ahead || d->dy_ahead) && line + LINES == d->line_count;
  if (WHOLE && fetch)
    depthwise_sum_inside<TAPS, STRIDE, LINES, WHOLE, true>(d, run.inside, run.outside, v);
  else
    depthwise_sum_inside<TAPS, STRIDE, LINES, WHOLE, false>(d, run.inside, run.outside, v);
  for (int64_t pixel = run.outside; pixel < run.last; ++pixel)
    depthwise_sum_border<TAPS, STRIDE, LINES, WHOLE>(d, pixel, v);
#pragma GCC unroll 4
  for (int l = 0; l < LINES; ++l)
#pragma GCC unroll 8
    for (int s = 0; s < TAPS; ++s) {
      float* at = d->sums[line + l] + s * d->sum_step + channel;
      if (WHOLE)
        vstore(at, v.sum[l][s]);
      else
        vstore_part(at, v.sum[l][s], lanes);
    }
}

template <int TAPS, int STRIDE, int LINES>
void depthwise_sum_channels(const DepthwiseSums* d, int64_t line, const DepthwiseRun& run) {
  int64_t c = 0;
  for (; c + kLanes <= d->channels; c += kLanes)
    depthwise_sum_lines<TAPS, STRIDE, LINES, true>(d, line, run, c, kLanes);
  if (c < d->channels)
    depthwise_sum_lines<TAPS, STRIDE, LINES, false>(d, line, run, c, (int)(d->channels - c));
}

/// Calls f(run) for the runs of a row of dy.
template <int TAPS, int STRIDE, class F>
FC_INLINE void depthwise_each_run(int64_t first, int64_t extent, int64_t pixels, int64_t step, F&& f) {
  const int64_t from = first < 0 ? (-first + STRIDE - 1) / STRIDE : 0;
  const int64_t room = extent - TAPS - first, to = room < 0 ? 0 : room / STRIDE + 1;
  const int64_t longest = depthwise_longest_run(step), runs = (pixels + longest - 1) / longest;
  for (int64_t k = 0; k < runs; ++k) {
    DepthwiseRun run;
    run.first = pixels * k / runs;
    run.last = pixels * (k + 1) / runs;
    run.inside = from < run.first ? run.first : from < run.last ? from : run.last;
    run.outside = to < run.inside ? run.inside : to < run.last ? to : run.last;
    f(run);
  }
}

template <int TAPS, int STRIDE>
void depthwise_sums(const DepthwiseSums* d) {
  constexpr int kTogether = TAPS <= 3 ? 3 : TAPS <= 5 ? 2 : 1;  // ten sums and a pixel: they fit 16 registers
  depthwise_each_run<TAPS, STRIDE>(
      d->first, d->extent, d->pixels,
      d->line_step, [&](const DepthwiseRun& run) __attribute__((always_inline)) {
        int64_t line = 0;
        for (; line + kTogether <= d->line_count; line += kTogether)
          depthwise_sum_channels<TAPS, STRIDE, kTogether>(d, line, run);
        if (kTogether > 2 && line + 2 == d->line_count) {
          depthwise_sum_channels<TAPS, STRIDE, 2>(d, line, run);
          line += 2;
        }
        for (; line < d->line_count; ++line) depthwise_sum_channels<TAPS, STRIDE, 1>(d, line, run);
      });
}

}  // namespace
}  // namespace fastcnn::cpu::FC_ISA
