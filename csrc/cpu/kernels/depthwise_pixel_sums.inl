// Gradient of 3x3 depthwise filters in the order of memory (interface in depthwise.h): all channels of a pixel, then the next
// pixel, so that hardware sees a few streams and fetches them ahead. depthwise_row_sums.inl has its sums in registers
// while a run of pixels passes, and jumps from pixel to pixel; here they are in the nearest cache, all nine of a vector of
// channels side by side, and what is read of several rows of dy pays for loading and storing them.
#pragma once

#include "cpu/kernels/depthwise.h"
#include "cpu/kernels/depthwise_rows.inl"
#include "cpu/kernels/vec.h"

namespace fastcnn::cpu::FC_ISA {
namespace {

constexpr int64_t kPixelSumChannels = 512;  // of which the sums take 18 KB

/// Channels `from` .. `to` - 1 of a pixel, whole vectors or less than one. Columns low .. high - 1 of three exist.
template <int STRIDE, int ROWS, bool WHOLE, bool BORDER>
FC_INLINE void pixel_sums_channels(const DepthwiseRowSums* d, int64_t pixel, int64_t from, int64_t to,
                                   float* sums) {
  constexpr int kLines = (ROWS - 1) * STRIDE + 3;
  const int64_t column = d->first + pixel * STRIDE, step = d->line_step;
  const float *line[kLines], *dy[ROWS];
#pragma GCC unroll 6
  for (int l = 0; l < kLines; ++l) line[l] = d->line[l] ? d->line[l] + column * step : nullptr;
#pragma GCC unroll 4
  for (int o = 0; o < ROWS; ++o) dy[o] = d->dy[o] + pixel * d->dy_step;
  for (int64_t c = from; c < to; c += kLanes, sums += 9 * kLanes) {
    const int lanes = WHOLE ? kLanes : (int)(to - c);
    Vec sum[3][3], g[ROWS];
#pragma GCC unroll 3
    for (int r = 0; r < 3; ++r)
#pragma GCC unroll 3
      for (int s = 0; s < 3; ++s) sum[r][s] = vload(sums + (r * 3 + s) * kLanes);
#pragma GCC unroll 4
    for (int o = 0; o < ROWS; ++o) g[o] = load_lanes<WHOLE>(dy[o] + c, lanes);
#pragma GCC unroll 6
    for (int l = 0; l < kLines; ++l) {
      if (!line[l]) continue;
#pragma GCC unroll 3
      for (int s = 0; s < 3; ++s) {
        if (BORDER && (column + s < 0 || column + s >= d->extent)) continue;
        const Vec v = load_lanes<WHOLE>(line[l] + s * step + c, lanes);
#pragma GCC unroll 4
        for (int o = 0; o < ROWS; ++o)
          if (l - o * STRIDE >= 0 && l - o * STRIDE < 3)
            sum[l - o * STRIDE][s] = vfma(v, g[o], sum[l - o * STRIDE][s]);
      }
    }
#pragma GCC unroll 3
    for (int r = 0; r < 3; ++r)
#pragma GCC unroll 3
      for (int s = 0; s < 3; ++s) vstore(sums + (r * 3 + s) * kLanes, sum[r][s]);
  }
}

template <int STRIDE, int ROWS, bool WHOLE>
void pixel_sums_block(const DepthwiseRowSums* d, int64_t from, int64_t to) {
  alignas(64) float sums[9 * (WHOLE ? kPixelSumChannels : kLanes)];
  const auto each = [&](auto&& move) __attribute__((always_inline)) {
    float* at = sums;
    for (int64_t c = from; c < to; c += kLanes)
      for (int tap = 0; tap < 9; ++tap, at += kLanes)
        move(d->sums + tap * d->sum_step + c, at, WHOLE ? kLanes : (int)(to - c));
  };
  each([](float* outside, float* inside, int lanes)
           __attribute__((always_inline)) { vstore(inside, load_lanes<WHOLE>(outside, lanes)); });
  for (int64_t pixel = 0; pixel < d->pixels; ++pixel) {
    const int64_t column = d->first + pixel * STRIDE;
    if (column >= 0 && column + 3 <= d->extent)
      pixel_sums_channels<STRIDE, ROWS, WHOLE, false>(d, pixel, from, to, sums);
    else
      pixel_sums_channels<STRIDE, ROWS, WHOLE, true>(d, pixel, from, to, sums);
  }
  each([](float* outside, float* inside, int lanes) __attribute__((always_inline)) {
    if (WHOLE)
      vstore(outside, vload(inside));
    else
      vstore_part(outside, vload(inside), lanes);
  });
}

template <int STRIDE, int ROWS>
void depthwise_pixel_sums(const DepthwiseRowSums* d) {
  const int64_t whole = d->channels / kLanes * kLanes;
  for (int64_t c = 0; c < whole; c += kPixelSumChannels)
    pixel_sums_block<STRIDE, ROWS, true>(d, c, c + kPixelSumChannels < whole ? c + kPixelSumChannels : whole);
  if (whole < d->channels) pixel_sums_block<STRIDE, ROWS, false>(d, whole, d->channels);
}

}  // namespace
}  // namespace fastcnn::cpu::FC_ISA
