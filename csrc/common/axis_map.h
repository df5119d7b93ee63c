// A sparse linear map along one axis: y[.., o, ..] = sum over k of weight[o, k] * x[.., index[o, k], ..].
// Interpolation in every mode, and padding by reflection, repetition or the edge, are such maps, one per axis; the
// gradient is the transposed map.
#pragma once

#include <vector>

#include "common/tensor.h"

namespace fastcnn {

class AxisMap {
 public:
  struct Rows {  ///< entries of row o are begin[o] .. begin[o + 1] - 1
    std::vector<int64_t> begin, index;
    std::vector<double> weight;
    int64_t count() const { return int64_t(begin.size()) - 1; }
    /// Of the copy that cards read: the entries, then `begin`.
    size_t table_bytes() const { return index.size() * 16 + begin.size() * 8; }
  };

  /// `in` is the extent of the input; ValueError if an index is outside it or the lists do not fit.
  AxisMap(int64_t in, Rows rows);

  const Rows& forward() const { return forward_; }
  /// The transposed map; entries are in the order of the output, so sums have one order.
  const Rows& transposed() const { return transposed_; }
  int64_t in() const { return transposed_.count(); }
  int64_t out() const { return forward_.count(); }

 private:
  Rows forward_, transposed_;
};

/// x and y are dense with the axis between `outer` and `inner` elements.
struct AxisMapParams {
  DType dtype;
  const AxisMap::Rows* rows;
  int64_t outer, inner, in;
  const void* x;
  void* y;
  void* table = nullptr;  ///< CUDA: workspace of rows->table_bytes()
};

}  // namespace fastcnn
