// Patches without gathering them. Output pixels of one line read runs of source lines that overlap: pixel q, filter
// row r is the run that begins at position q * step of line r. So a line of patches is a matrix whose rows are
// step * channels elements apart, once for each filter row (GemmSegment), and nothing is copied but the lines
// that need padding or lie elsewhere than channels innermost: the "window" of a block of output lines.
#pragma once

#include <cstdint>

#include "cpu/kernels/gather.h"
#include "cpu/kernels/gemm.h"

namespace fastcnn::cpu {

constexpr int64_t kMaxSegments = 128;

/// How a convolution's output is cut into blocks of lines; a function of its extents only, not of strides.
struct PatchLines {
  bool usable = false;                        ///< else gather patches
  int64_t images = 0, height = 0, width = 0;  ///< of the output
  int64_t block_lines = 0, blocks = 0;        ///< output lines of a block, blocks of an image
  int64_t window_width = 0, line_floats = 0, window_floats = 0;  ///< of the longest block's window
  /// `rows`: images times output pixels. Blocks are long, but not fewer than `wanted_blocks` in all.
  PatchLines(const Gather& gather, int64_t rows, int64_t wanted_blocks);
};

/// Where the lines of a window lie.
struct PatchWindow {
  const float* base;
  int64_t line, pixel;  ///< elements from one line or pixel to the next
  bool joined;          ///< taps of a filter row follow each other
};

/// The window of output lines first .. first + count - 1 of an image: in place if it can be (lines in zero padding then
/// lie outside of the source and must be skipped), else copied to `scratch`. With `runs`, in place only if all lines
/// exist and are joined.
PatchWindow patch_window(const Gather& gather, const PatchLines& lines, int64_t image, int64_t first,
                         int64_t count, bool runs, float* scratch);

}  // namespace fastcnn::cpu
