// How the rows of a tensor along one axis lie in memory.
#pragma once

#include "common/loss.h"

namespace fastcnn::ops {

/// The rows of t along `axis`; axis -1: every element is a row.
inline RowLayout rows_of(const Tensor& t, int axis) {
  RowLayout rows{};
  for (int i = 0; i < t.ndim(); ++i) {
    if (i == axis) {
      rows.step = t.strides[i];
      continue;
    }
    rows.shape[rows.ndim] = t.shape[i];
    rows.strides[rows.ndim++] = t.strides[i];
  }
  return rows;
}

}  // namespace fastcnn::ops
