// Reads the patches of a convolution into the rows of a matrix ("im2col" of a block), straight from a tensor
// with any strides, with padding resolved on the way. One description serves all passes:
//   forward, backward_weight   rows are output pixels, the source is x
//   backward_input             rows are input pixels of one residue class of the stride, the source is dy
// On each axis the source position of output coordinate i and tap j is i * step + offset + j * tap_step.
#pragma once

#include <stdint.h>

namespace fastcnn::cpu {

enum GatherPadding { kPadZeros = 0, kPadReflect = 1, kPadReplicate = 2, kPadCircular = 3 };

struct GatherAxis {
  int64_t extent;  ///< of the source
  int64_t stride;  ///< of the source, in elements
  int64_t outs;    ///< output coordinates
  int64_t taps;
  int64_t step, offset, tap_step;
};

struct Gather {
  const float* source;
  int64_t batch_stride, channel_stride;  ///< in elements
  int64_t channels;                      ///< of one group; `source` points at its first
  GatherAxis axis[3];                    ///< depth, height, width
  int padding;                           ///< GatherPadding: what positions outside mean
  const float* scale;                    ///< [channels] or null: every real element v becomes
  const float* shift;                    ///< relu(v * scale + shift); padding stays zero
  int relu;
};

struct GatherKernels {
  /// Rows first_row .. first_row + rows - 1 (numbered n, d, h, w over the outs), columns first .. last - 1
  /// (numbered tap d, h, w, channel) to dst[row * dst_row + column - first].
  void (*rows)(const Gather*, int64_t first_row, int64_t rows, int64_t first, int64_t last, float* dst,
               int64_t dst_row);
};

}  // namespace fastcnn::cpu
