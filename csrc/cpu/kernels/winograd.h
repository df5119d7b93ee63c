// Transforms of Winograd convolution with 3x3 filters, lanes = channels. A tile of m x n outputs (m, n = 2, 3 or 4)
// works at (m + 2) x (n + 2) positions, each a product of a transformed input and a transformed filter.
//
// The interpolation points are a, -a, b, -b, 0, infinity with a = 2/3, b = 3/2, in this order. A tile of 4 uses all
// six, a tile of 3 the first five, a tile of 2 the first four, and all use one normalisation of the filter: the
// transformed filter of a smaller tile is a part of that of a larger one, and tiles of several sizes share it.
// a * b = 1 makes the coefficients small and the error about 2 times that of a direct sum (tests/test_conv_winograd.py).
#pragma once

#include <stdint.h>

namespace fastcnn::cpu {

constexpr int kWinogradPoints = 6;  ///< per axis, of a tile of 4
constexpr int kWinogradCells = kWinogradPoints * kWinogradPoints;

/// Values at the positions (i, j) of a tile: lane c of position (i, j) is data[i * row + j * column + c].
struct WinogradValues {
  float* data;
  int64_t row, column;  ///< in elements
};

/// Pixels to positions. `pixel` holds (rows + 2) x (cols + 2) (input) or rows x cols (gradient) pointers to `channels`
/// floats each, row-major without gaps. Positions receive whole vectors: lanes past `channels` become zero.
struct WinogradLoad {
  const float* const* pixel;
  int rows, cols;  ///< outputs of the tile
  int64_t channels;
  WinogradValues to;
};

/// Positions to outputs: min(high, max(low, out * scale + bias + residual)), each where present. NaN stays.
struct WinogradStore {
  WinogradValues from;
  int rows, cols;              ///< outputs of the tile
  int valid_rows, valid_cols;  ///< those that exist
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

struct WinogradKernels {
  void (*input)(const WinogradLoad*);     ///< B^T d B
  void (*gradient)(const WinogradLoad*);  ///< A dy A^T
  void (*output)(const WinogradStore*);   ///< A^T m A
  void (*filter)(const WinogradFilter*);  ///< taps -> values: G g G^T
  void (*filter_gradient)(
      const WinogradFilter*);  ///< values -> taps: G^T u G; positions that are not there are zero
};

}  // namespace fastcnn::cpu
