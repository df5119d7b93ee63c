// Two rows of the input gradient of a 3x3 depthwise convolution at stride 2 (interface in depthwise.h): a pixel of dy
// enters four pixels of dx, and four of dy make those four whole. All channels of a block, then the next block: lines
// are walked in the order of memory, each once, which hardware fetches ahead. The classes of the stride one after the
// other (depthwise_rows.inl) walk them twice as often, a few channels at a time.
#pragma once

#include "cpu/kernels/depthwise.h"
#include "cpu/kernels/depthwise_rows.inl"
#include "cpu/kernels/vec.h"

namespace fastcnn::cpu::FC_ISA {
namespace {

/// Four pixels of dx, two rows by two columns; at the far borders fewer.
struct DepthwiseSquare {
  const float* line[2];  // at the pixel of dy that enters all four
  bool left, right;      // whether that pixel exists, and its neighbour
  float* out[2];
  int columns;
};

template <bool INSIDE, bool WHOLE>
FC_INLINE void spread_vector(const DepthwiseSpread* d, const DepthwiseSquare& q, int64_t c, int lanes) {
  const float* filter = d->filter + c;
  const auto tap = [&](int r, int s) __attribute__((always_inline)) {
    return load_lanes<WHOLE>(filter + (3 * r + s) * d->filter_step, lanes);
  };
  Vec sum[2][2] = {{vzero(), vzero()}, {vzero(), vzero()}};
  if (q.line[0]) {
    if (INSIDE || q.left) {
      const Vec v = load_lanes<WHOLE>(q.line[0] + c, lanes);
      sum[0][0] = vfma(v, tap(1, 1), sum[0][0]);
      sum[0][1] = vfma(v, tap(1, 2), sum[0][1]);
      sum[1][0] = vfma(v, tap(2, 1), sum[1][0]);
      sum[1][1] = vfma(v, tap(2, 2), sum[1][1]);
    }
    if (INSIDE || q.right) {
      const Vec v = load_lanes<WHOLE>(q.line[0] + d->line_step + c, lanes);
      sum[0][1] = vfma(v, tap(1, 0), sum[0][1]);
      sum[1][1] = vfma(v, tap(2, 0), sum[1][1]);
    }
  }
  if (q.line[1]) {
    if (INSIDE || q.left) {
      const Vec v = load_lanes<WHOLE>(q.line[1] + c, lanes);
      sum[1][0] = vfma(v, tap(0, 1), sum[1][0]);
      sum[1][1] = vfma(v, tap(0, 2), sum[1][1]);
    }
    if (INSIDE || q.right)
      sum[1][1] = vfma(load_lanes<WHOLE>(q.line[1] + d->line_step + c, lanes), tap(0, 0), sum[1][1]);
  }
#pragma GCC unroll 2
  for (int o = 0; o < 2; ++o) {
    if (!q.out[o]) continue;
#pragma GCC unroll 2
    for (int i = 0; i < 2; ++i) {
      if (!INSIDE && i >= q.columns) continue;
      float* at = q.out[o] + i * d->out_step + c;
      if (WHOLE)
        vstore(at, sum[o][i]);
      else
        vstore_part(at, sum[o][i], lanes);
    }
  }
}

template <bool INSIDE>
FC_INLINE void spread_square(const DepthwiseSpread* d, const DepthwiseSquare& q) {
  int64_t c = 0;
  for (; c + kLanes <= d->channels; c += kLanes) spread_vector<INSIDE, true>(d, q, c, kLanes);
  if (c < d->channels) spread_vector<INSIDE, false>(d, q, c, (int)(d->channels - c));
}

void depthwise_spread(const DepthwiseSpread* d) {
  for (int64_t pixel = 0; pixel < d->pixels; pixel += 2) {
    const int64_t column = d->first + pixel / 2;
    DepthwiseSquare q;
    q.left = column < d->extent;
    q.right = column + 1 < d->extent;
    q.columns = d->pixels - pixel < 2 ? 1 : 2;
    for (int l = 0; l < 2; ++l) q.line[l] = d->line[l] ? d->line[l] + column * d->line_step : nullptr;
    for (int o = 0; o < 2; ++o) q.out[o] = d->out[o] ? d->out[o] + pixel * d->out_step : nullptr;
    if (q.left && q.right && q.columns == 2)
      spread_square<true>(d, q);
    else
      spread_square<false>(d, q);
  }
}

}  // namespace
}  // namespace fastcnn::cpu::FC_ISA
