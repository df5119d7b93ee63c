// Transforms of Winograd convolution with 3x3 filters, lanes = channels. A tile of m x n results (m, n = 2, 3 or 4) is
// computed at positions, along each axis of their own; a product of inputs and filters at a position is a product of
// matrices, tiles x channels by channels x filters.
//
//   form               pixels of a tile   inputs   products   filters   outputs
//   stride1            m + 2              m + 2    m + 2      m + 2     m
//   stride2            2m + 1             2m + 1   m + 1      m + 2     m
//   stride2_gradient   m + 1              m + 1    2m + 1     m + 2     2m
//
// stride1: the interpolation points are a, -a, b, -b, 0, infinity with a = 2/3, b = 3/2, in this order. A tile of 4
// uses all six, a tile of 3 the first five, a tile of 2 the first four, and all use one normalisation of the filter: the
// transformed filter of a smaller tile is a part of that of a larger one, and tiles of several sizes share it.
// a * b = 1 makes the coefficients small and the error about 2 times that of a direct sum (tests/test_conv_winograd.py).
//
// stride2: every second pixel meets taps 0 and 2 of the filter, the others tap 1 alone. Two taps need m + 1 points: a,
// -a, infinity; b from tiles of 3 on; -b in tiles of 4; a = 1/2, b = 3/2. One tap is a filter of two taps that ends in
// 0: it vanishes at infinity, and m points are left. At a point both kinds are added up. So there are 2m + 1
// multiplications along an axis instead of 3m. With the gain of each point in the input, tap 1 itself is the filter at
// all points.
//   inputs     those of two taps at a, -a, infinity; of one tap at a, -a; of two and one at b; of two and one at -b
//   products   a, -a, infinity; b; -b
//   filters    two taps at a, -a, infinity; one tap; two taps at b; at -b
// stride2_gradient, of dy to dx, is the same with inputs and products swapped: every second row of dx is a sum over two
// taps, the one before it has one.
#pragma once

#include <stdint.h>

namespace fastcnn::cpu {

enum class WinogradForm : int { stride1, stride2, stride2_gradient };

constexpr int kWinogradPoints = 6;  ///< of filters, per axis
constexpr int kWinogradWindow = 9;  ///< pixels, inputs or products per axis, at most

/// Values at the positions (i, j) of a tile: lane c of position (i, j) is data[i * row + j * column + c].
struct WinogradValues {
  float* data;
  int64_t row, column;  ///< in elements
};

/// Pixels to positions. `pixel` holds a pointer to `channels` floats for each pixel of the tile (input) or for each of
/// rows x cols (gradient), row-major without gaps. Positions receive whole vectors: lanes past `channels` become zero.
struct WinogradLoad {
  const float* const* pixel;
  int rows, cols;  ///< size of the tile
  int64_t channels;
  WinogradValues to;
};

/// Positions to outputs: min(high, max(low, out * scale + bias + residual)), each where present. NaN stays.
struct WinogradStore {
  WinogradValues from;
  int rows, cols;          ///< size of the tile
  int first_row, end_row;  ///< outputs that exist
  int first_col, end_col;
  int64_t channels;
  float* out;  ///< output (r, s) at out + r * out_row + s * out_col; channels follow each other
  int64_t out_row, out_col;
  const float* scale;     ///< or null; comes with a bias
  const float* bias;      ///< or null
  const float* residual;  ///< or null
  int64_t residual_row, residual_col;
  float low, high;
};

/// Filters between their 9 taps (tap r, s: taps + (3 * r + s) * tap) and their positions, `rows` rows of `lanes` floats
/// each (a multiple of the vector), in both.
struct WinogradFilter {
  float* taps;
  int64_t tap, taps_row;  ///< in elements
  WinogradValues values;
  int64_t values_row;
  int points_h, points_w;  ///< how many positions there are
  int64_t rows, lanes;
  int stream;  ///< filter: values are aligned to vectors, and are written past the caches
};

/// Of one form.
struct WinogradTransforms {
  void (*input)(const WinogradLoad*);     ///< B^T d B
  void (*output)(const WinogradStore*);   ///< A^T m A
  void (*filter)(const WinogradFilter*);  ///< taps -> values: G g G^T
  // Adjoints, for the gradient of the filters; null for stride2_gradient.
  void (*gradient)(const WinogradLoad*);  ///< A dy A^T
  void (*filter_gradient)(
      const WinogradFilter*);  ///< values -> taps: G^T u G; positions that are not there are zero
};

struct WinogradKernels {
  WinogradTransforms form[3];  ///< by WinogradForm
};

}  // namespace fastcnn::cpu
