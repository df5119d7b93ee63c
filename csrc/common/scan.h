// Parameters of ops that walk along one axis of every line: sorting, running sums; and of regular sequences.
#pragma once

#include "common/loss.h"

namespace fastcnn {

/// The first k of each line in order. NaN counts as the largest number; among equals the first comes first.
struct SortParams {
  DType dtype;
  bool descending;
  int64_t lines, count, k;
  RowLayout x, values, indices;
  const void* x_data;
  void* values_data;
  int64_t* indices_data;
  void* workspace;  ///< bytes_per_worker for each of `workers`
  int workers;
  size_t bytes_per_worker() const { return size_t(count) * 16; }
};

/// y_i = x_0 + ... + x_i along each line, or from the end.
struct CumsumParams {
  DType dtype;
  bool reverse;
  int64_t lines, count;
  RowLayout x, y;
  const void* x_data;
  void* y_data;  ///< of x's dtype, int64 for integers and bool
};

/// y_i = start + i * step; with `end`, the second half counts back from it, so that both ends are exact.
struct RampParams {
  DType dtype;
  int64_t count;
  void* y;
  double start, step, end;
  bool has_end;
  int64_t whole_start, whole_step;  ///< for integer dtypes
};

}  // namespace fastcnn
