// Depthwise convolution of one row of pixels; lanes are channels (innermost in memory).
#pragma once

#include <stdint.h>

namespace fastcnn::cpu {

struct DepthwiseRow {
  const float* const*
      source;  ///< [taps] where the tap reads the first pixel; the next is source_step further
  const float* const* filter;  ///< [taps] of `channels` weights
  int64_t taps;                ///< 0 is allowed: the sums are zero
  int64_t source_step;
  float* out;
  int64_t out_step;
  int64_t pixels, channels;
};

struct DepthwiseKernels {
  /// out[pixel, c] = sum over taps of source[tap][pixel, c] * filter[tap][c], one chain in the order of the taps.
  void (*row)(const DepthwiseRow*);
  /// sum[c] += sum over pixels of x[pixel * x_step + c] * dy[pixel * dy_step + c], one chain.
  void (*weight)(const float* x, int64_t x_step, const float* dy, int64_t dy_step, int64_t pixels,
                 int64_t channels, float* sum);
};

}  // namespace fastcnn::cpu
