// Parameters of the ops that fill tensors with random numbers or multiply by them.
#pragma once

#include "common/philox.h"
#include "common/tensor.h"

namespace fastcnn {

/// Fills `count` dense elements; element i of the row-major order draws as position i of sample 0.
///   uniform    low + (high - low) u, u in [0, 1) with as many bits as the dtype holds (float32: 24)
///   normal     low + high z (mean and standard deviation), Box and Muller in float64, rounded once
///   integer    int64 in [low, high)
///   bernoulli  1 with the probability given by the element of `p`, else 0
struct RandomFillParams {
  enum Kind : uint8_t { uniform, normal, integer, bernoulli } kind;
  DType dtype;
  int64_t count;
  void* y;
  const void* p;  ///< bernoulli: probabilities, dense, of y's dtype
  RandomKey key;
  double low, high;
  int64_t first;   ///< integer: low
  uint64_t range;  ///< integer: high - low
};

/// y = x * factor. Four elements to a block: position p of a sample is word p % 4 of block p / 4.
///   gaussian   factor = 1 + a z
///   rrelu      factor = 1 where `sign` > 0 (or NaN), else a + (b - a) u
struct RandomScaleParams {
  enum Kind : uint8_t { gaussian, rrelu } kind;
  DType dtype;
  int ndim;
  int64_t shape[kMaxDims], x_strides[kMaxDims], y_strides[kMaxDims], sign_strides[kMaxDims];
  const void *x, *sign;
  void* y;
  RandomKey key;
  double a, b;
};

}  // namespace fastcnn
