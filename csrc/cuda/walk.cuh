// From a flat index to places in memory without dividing: kernels over tensors of any strides.
#pragma once

#include "common/check.h"
#include "common/tensor.h"
#include "cuda/device.cuh"

namespace fastcnn::cuda {

/// n / divisor for 0 <= n < 2^31 by a multiplication (Granlund and Montgomery, "Division by invariant integers using
/// multiplication", 1994): with 2^shift >= divisor, n / divisor = (high 32 bits of n * magic + n) >> shift.
struct FastDivide {
  unsigned divisor = 1, magic = 1, shift = 0;

  FastDivide() = default;
  explicit FastDivide(int64_t d)
      : divisor(static_cast<unsigned>(d > 0 ? d : 1)) {  // of an empty axis nothing is asked
    while ((uint64_t{1} << shift) < divisor) ++shift;
    magic = static_cast<unsigned>((((uint64_t{1} << shift) - divisor) << 32) / divisor + 1);
  }
  FC_METHOD unsigned quotient(unsigned n) const { return (__umulhi(n, magic) + n) >> shift; }
  /// n becomes n / divisor; the result is the remainder.
  FC_METHOD unsigned split(unsigned& n) const {
    const unsigned q = quotient(n), r = n - q * divisor;
    n = q;
    return r;
  }
};

/// A nest of axes, innermost first, with a stride for each of several operands. Fewer than 2^31 positions.
template <int kOperands>
struct Walk {
  int ndim = 0;
  FastDivide extent[kMaxDims];
  int64_t stride[kOperands][kMaxDims] = {};

  /// Offsets in elements of position `index`, one for each operand.
  FC_METHOD void offsets(unsigned index, int64_t (&at)[kOperands]) const {
    FC_UNROLL
    for (int k = 0; k < kOperands; ++k) at[k] = 0;
    FC_UNROLL
    for (int axis = 0; axis < kMaxDims; ++axis) {
      if (axis == ndim) break;
      const unsigned i = extent[axis].split(index);
      FC_UNROLL
      for (int k = 0; k < kOperands; ++k) at[k] += i * stride[k][axis];
    }
  }
};

/// The axes of a nest given outermost first, as common/ has them.
template <int kOperands>
Walk<kOperands> make_walk(int ndim, const int64_t* shape, const int64_t* const (&strides)[kOperands]) {
  Walk<kOperands> w;
  w.ndim = ndim;
  for (int i = 0; i < ndim; ++i) {
    const int axis = ndim - 1 - i;
    w.extent[i] = FastDivide(shape[axis]);
    for (int k = 0; k < kOperands; ++k) w.stride[k][i] = strides[k][axis];
  }
  return w;
}

constexpr int64_t kMaxIndices = int64_t{1} << 30;  ///< of one launch over a Walk

}  // namespace fastcnn::cuda
