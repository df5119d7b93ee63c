// Parameters of reads and writes at positions that are data: x[i, :, j], gather, scatter, nonzero.
#pragma once

#include "common/loss.h"
#include "common/scan.h"
#include "common/tensor.h"

namespace fastcnn {

/// What a write does with the value that is there: later positions win, or all are added in order.
enum class IndexMode : uint8_t { get, put, add };

/// One extent and its strides in elements: of x (or the index) and of the values.
struct IndexAxis {
  int64_t extent, x, values;
};
/// Axes outermost first.
struct IndexNest {
  int ndim = 0;
  IndexAxis axis[kMaxDims] = {};
  int64_t count() const {
    int64_t n = 1;
    for (int i = 0; i < ndim; ++i) n *= axis[i].extent;
    return n;
  }
  void offsets(int64_t position, int64_t& x, int64_t& values) const {
    x = values = 0;
    for (int i = ndim - 1; i >= 0; --i) {
      const int64_t at = position % axis[i].extent;
      position /= axis[i].extent;
      x += at * axis[i].x;
      values += at * axis[i].values;
    }
  }
};

/// values[outer, position, inner] = x[outer, indices[position], inner] and the writes the other way.
struct IndexParams {
  IndexMode mode;
  const char* op;
  DType dtype;
  void *x, *values;
  IndexNest outer, inner;  ///< axes of x that are not indexed, in front of and behind the positions
  int positions_ndim = 0;  ///< the broadcast shape of the indices
  int64_t positions_shape[kMaxDims], values_stride[kMaxDims];
  int indexed = 0;  ///< axes of x that are indexed: their extents, strides and index tensors
  int64_t extent[kMaxDims], stride[kMaxDims];
  int axis[kMaxDims];
  const void* index[kMaxDims];
  DType index_dtype[kMaxDims];
  int64_t index_stride[kMaxDims][kMaxDims];  ///< [indexed][position axis]
  void* workspace = nullptr;                 ///< the offset into x of each position
  int64_t positions() const {
    int64_t n = 1;
    for (int i = 0; i < positions_ndim; ++i) n *= positions_shape[i];
    return n;
  }
  /// A card that writes sorts the positions by their offsets.
  size_t workspace_bytes(bool on_card) const {
    const int64_t n = positions();
    return on_card && mode != IndexMode::get ? SortTiles{1, n, n}.bytes(16) : size_t(n) * 8;
  }
};

/// values[line, i] = x[line, index[line, i]] along one axis, and the writes the other way.
struct GatherParams {
  IndexMode mode;
  const char* op;
  DType dtype, index_dtype;
  void *x, *values;
  const void* index;
  int64_t lines, count, extent;  ///< of all axes but one; positions along it; x's extent along it
  int axis;
  RowLayout x_lines, value_lines, index_lines;
  void* workspace = nullptr;
  /// A card that writes sorts all positions by where they go.
  size_t workspace_bytes(bool on_card) const {
    const int64_t n = lines * count;
    return on_card && mode != IndexMode::get ? SortTiles{1, n, n}.bytes(16) : 0;
  }
};

/// Row-major indices of the elements of x that are not zero.
struct NonzeroParams {
  DType dtype;
  const void* x;
  int ndim;
  int64_t shape[kMaxDims], strides[kMaxDims], numel;
  int64_t* counts;  ///< [chunks + 1]; the first pass finds where the first one of each goes, then all
  int64_t* indices = nullptr;  ///< [found][ndim]; nullptr: count only

  static constexpr int64_t kChunk = 8192;
  int64_t chunks() const { return (numel + kChunk - 1) / kChunk; }
};

}  // namespace fastcnn
