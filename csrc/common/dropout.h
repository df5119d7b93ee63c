// Parameters of the dropout family: y = keep ? x * scale + shift : dropped, with the mask drawn from a counter.
#pragma once

#include "common/philox.h"
#include "common/tensor.h"

namespace fastcnn {

/// The mask has x's rank, each extent x's or 1 (then shared along that axis). Element (n, i...) of the mask draws as
/// sample n, position = row-major index of i... in the mask; nothing depends on how x lies in memory.
struct DropoutParams {
  DType dtype;
  int ndim;
  int64_t shape[kMaxDims], x_strides[kMaxDims], y_strides[kMaxDims], mask_shape[kMaxDims];
  const void* x;
  void* y;
  RandomKey key;
  uint32_t threshold;  ///< of 65536: the share that is dropped
  double scale, shift, dropped;
};

/// Per-sample weight masks in a linear layer (DropConnect, Wan et al. 2013): weight (o, i) of sample n is kept by
/// draw o * in_features + i of sample n. All matrices are row-major.
struct DropConnectParams {
  enum Pass : uint8_t { forward, backward_input, backward_weight } pass;
  DType dtype;
  int64_t samples, in_features, out_features;
  const void *x, *w;  ///< (N, in), (out, in); backward_weight writes w, backward_input writes x
  const void* y;      ///< (N, out): output of forward, else dy
  void* out;
  RandomKey key;
  uint32_t threshold;
  double scale;
};

}  // namespace fastcnn
