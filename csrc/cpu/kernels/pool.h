// Inner loops of pooling: one row of pixels at a time, lanes are channels.
#pragma once

#include <stdint.h>

namespace fastcnn::cpu {

constexpr int kPoolTile = 64;  ///< channels at a time: four 512-bit registers of values, four of positions

/// A row of output pixels (n, d, h). x points at sample n; y and tap at the row's first pixel.
struct PoolForwardRow {
  const void* x;
  void *y, *tap;  ///< tap may be nullptr
  int64_t channels, columns;
  int64_t x_step[3];  ///< elements from one window position to the next: dilation times the axis stride
  int64_t x_origin;   ///< of the window in depth and height, in elements
  int64_t taps[2], first[2];  ///< window positions in depth and height: how many, and the first
  int64_t window_h, window_w;
  bool relu;  ///< max: of max(x, 0)
  /// Elements to what the next row of outputs reads in the place of this one's: its last `fresh` rows and columns are read
  /// by that row first, and fetched early. 0: they are not.
  int64_t ahead, fresh[2];
  // Per column: offset of the first cell in elements, positions, first position; for avg the divisor.
  const int64_t *column_offset, *column_taps, *column_first;
  const double* column_divisor;
};

/// A row of input pixels. dy and tap point at sample n.
struct PoolBackwardRow {
  void* dx;
  const void *dy, *tap;
  int64_t channels, columns;
  // Pairs of (offset of the output row in elements, code of the window position, weight): depth and height.
  int64_t row_hits;
  const int64_t *row_offset, *row_code;
  const double* row_scale;
  // Per column c: hits column_begin[c] .. column_begin[c + 1] - 1.
  const int64_t *column_begin, *column_offset, *column_code;
  const double* column_scale;
  bool stream;  ///< past the caches (cpu/stream.h)
  int64_t
      ahead;  ///< elements from the last of the row's outputs to those that a later row reads first; 0: not fetched
};

struct PoolKernels {
  void (*max_forward)(const PoolForwardRow*);         ///< uint8 positions
  void (*max_forward_wide)(const PoolForwardRow*);    ///< int32 positions
  void (*max_backward)(const PoolBackwardRow*);       ///< uint8 positions
  void (*max_backward_wide)(const PoolBackwardRow*);  ///< int32 positions
  void (*avg_forward)(const PoolForwardRow*);
  void (*avg_backward)(const PoolBackwardRow*);
};

}  // namespace fastcnn::cpu
