// Inner loops of dropout: keep bits from Philox, and their application to runs and channels-last tiles.
#pragma once

#include <stdint.h>

namespace fastcnn::cpu {

/// The words of the counter and key that all blocks of one call share.
struct KeepBitsSource {
  uint32_t c1, c2, c3, k0, k1, threshold;  ///< c3 without the bits of the block index
};

/// y = bit ? x * scale + shift : dropped
struct DropoutValues {
  double scale, shift, dropped;
};

constexpr int kDropoutChannels = 64;  ///< of a tile, at most

struct DropoutKernels {
  /// bits[b]: bit j is set when draw j of block first_block + b is at or above the threshold.
  void (*keep_run)(uint8_t* bits, int64_t first_block, int count, const KeepBitsSource&);
  /// mask[c]: bit r is set when the draw of position + c * pixels + r is kept, for 32 rows r.
  void (*keep_columns)(uint32_t* mask, int64_t position, int64_t pixels, int channels, const KeepBitsSource&);
  /// With `stream` (cpu/stream.h) results pass the caches.
  /// rows x channels elements with `step` elements from row to row; row r, channel c is kept by bit r of mask[c].
  void (*tile)(void* y, const void* x, const uint32_t* mask, int rows, int channels, int64_t step,
               const DropoutValues&, bool stream);
  // float32 only, drawn and applied at once:
  /// n consecutive elements; the first is kept by draw 0 of first_block.
  void (*run)(float* y, const float* x, int64_t first_block, int64_t n, const KeepBitsSource&,
              const DropoutValues&, bool stream);
  /// Rows and channels as above; row r, channel c is kept by draw number position + c * pixels + r.
  void (*columns)(float* y, const float* x, int64_t position, int64_t pixels, int rows, int channels,
                  int64_t step, const KeepBitsSource&, const DropoutValues&, bool stream);
};

}  // namespace fastcnn::cpu
