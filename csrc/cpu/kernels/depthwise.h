// Depthwise convolution; lanes are channels (innermost in memory). `rows` and `sums` are the fast ones, for rows of up
// to kDepthwiseTaps taps without gaps; `row` and `weight` take any geometry, tap by tap.
#pragma once

#include <stdint.h>

namespace fastcnn::cpu {

constexpr int kDepthwiseTaps = 7;     ///< of a row of the filter, at most
constexpr int kDepthwiseStrides = 2;  ///< 1 and 2

/// One line of pixels, and the filter rows with which it enters output rows 0 and 1 (nullptr: it does not).
struct DepthwiseLine {
  const float* pixels;
  const float* filter[2];
  int64_t
      ahead;  ///< elements to the same pixels of a line that the next rows will be the first to read; 0: there is none
};

/// Two neighbouring rows of outputs, which share most of the lines that they read:
/// out[i][pixel, c] = sum over lines and taps of line[first + pixel * stride + tap, c] * filter[i][tap, c], one chain in
/// the order of lines, then taps; places before 0 and from `extent` on do not count.
/// Then min(high, max(low, out * scale + bias)), each where present; NaN stays.
struct DepthwiseRows {
  const DepthwiseLine* lines;
  int64_t line_count;  ///< 0 is allowed: the sums are zero
  int64_t line_step, extent, first;
  int64_t filter_step;  ///< from tap to tap
  float* out[2];        ///< [1] may be nullptr
  int64_t out_step, pixels;
  int64_t out_ahead;  ///< elements from an output to the one that a later call will write first; 0: none
  int64_t channels,
      channel_block;          ///< so many at a time along the row: their filters stay in the nearest cache
  const float *scale, *bias;  ///< or nullptr; a scale comes with a bias
  float low, high;
};

/// Up to four neighbouring rows of outputs of a 3x3 filter with the same stride of rows and columns; row o reads the lines
/// from o * stride on, three of them.
struct DepthwiseQuad {
  DepthwiseRows rows;  ///< but for its lines and out
  const float*
      line[9];       ///< 3 * stride + 3 of them; nullptr in zero padding, or if no row that exists reads it
  int64_t ahead[9];  ///< as in DepthwiseLine
  const float* filter;  ///< of the first of a row's lines
  int64_t filter_row;   ///< to the filter of the next
  float* out[4];        ///< nullptr: there is no such row
};

/// Two rows of dx of a 3x3 filter at stride 2 with odd padding: dy's pixel first + b of line 0 enters columns 2b and 2b + 1
/// of both rows, its neighbour column 2b + 1; those of line 1 row 1 only. One chain per output, by lines, then pixels.
struct DepthwiseSpread {
  const float* line[2];              ///< of dy; nullptr: there is none
  int64_t line_step, extent, first;  ///< `first` is not negative
  const float* filter;               ///< nine taps
  int64_t filter_step;               ///< from tap to tap
  float* out[2];                     ///< [1] may be nullptr
  int64_t out_step, pixels, channels;
};

/// sum[line][tap, c] += sum over pixels of line[first + pixel * stride + tap, c] * dy[pixel, c], one chain per sum.
struct DepthwiseSums {
  const float* const* lines;
  float* const* sums;
  int64_t line_count;
  int64_t line_step, extent, first;
  int64_t sum_step;  ///< from tap to tap
  const float* dy;
  int64_t dy_step, pixels, channels;
  int64_t line_ahead,
      dy_ahead;  ///< elements from the last lines, and from dy, to those of the next row; 0: none
};

/// Rows of dy that a kernel in the order of memory takes at most, by stride - 1.
constexpr int64_t kDepthwiseSumRows[kDepthwiseStrides] = {4, 2};

/// The same of a 3x3 filter for neighbouring rows of dy, up to four: tap row r meets row o in line o * stride + r.
/// One chain per sum: by pixels, then lines.
struct DepthwiseRowSums {
  const float* line[6];  ///< (rows - 1) * stride + 3; nullptr in zero padding
  const float* dy[4];
  float* sums;  ///< of nine taps
  int64_t sum_step, line_step, extent, first;
  int64_t dy_step, pixels, channels;
  int64_t line_ahead, dy_ahead;  ///< elements to those of the next rows; 0: none
};

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

using DepthwiseRowsFn = void (*)(const DepthwiseRows*);
using DepthwiseQuadFn = void (*)(const DepthwiseQuad*);
using DepthwiseRowSumsFn = void (*)(const DepthwiseRowSums*);
using DepthwiseSpreadFn = void (*)(const DepthwiseSpread*);
using DepthwiseSumsFn = void (*)(const DepthwiseSums*);

struct DepthwiseKernels {
  DepthwiseRowsFn rows[kDepthwiseStrides][kDepthwiseTaps];  ///< [stride - 1][taps - 1]
  DepthwiseQuadFn quads[kDepthwiseStrides];  ///< [stride - 1] of four rows, nullptr where registers are few
  DepthwiseQuadFn by_pixel;                  ///< of two rows at stride 2, in the order of memory
  DepthwiseSpreadFn spread;                  ///< of the input gradient, two rows at stride 2
  DepthwiseSumsFn sums[kDepthwiseStrides][kDepthwiseTaps];
  DepthwiseRowSumsFn row_sums[2];  ///< at stride 1: two rows, four
  /// The same in the order of memory: [stride - 1][rows - 1], up to kDepthwiseSumRows.
  DepthwiseRowSumsFn pixel_sums[kDepthwiseStrides][4];
  /// out[pixel, c] = sum over taps of source[tap][pixel, c] * filter[tap][c], one chain in the order of the taps.
  void (*row)(const DepthwiseRow*);
  /// sum[c] += sum over pixels of x[pixel * x_step + c] * dy[pixel * dy_step + c], one chain.
  void (*weight)(const float* x, int64_t x_step, const float* dy, int64_t dy_step, int64_t pixels,
                 int64_t channels, float* sum);
};

}  // namespace fastcnn::cpu
