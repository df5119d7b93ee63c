// Parameters of the ops that fill tensors with random numbers or multiply by them.
#pragma once

#include "common/host_device.h"
#include "common/philox.h"
#include "common/tensor.h"

namespace fastcnn {

/// Random bits of a number in [0, 1): as many as a dtype holds, so that rounding cannot give 1.
FC_BOTH constexpr int random_bits(DType t) {
  return t == DType::float64 ? 53 : t == DType::float16 ? 11 : t == DType::bfloat16 ? 8 : 24;
}
/// The number that element i of a block gets; two elements share a block where bits is 53, else four.
FC_BOTH double random_fraction(const PhiloxBlock& b, int i, int bits) {
  if (bits == 53)
    return double((uint64_t(b.word[(2 * i + 1) & 3]) << 32 | b.word[2 * i & 3]) >> 11) * 0x1p-53;
  return double(b.word[i & 3] >> (32 - bits)) / double(1u << bits);
}
/// The upper 64 bits of word * range: in [0, range), each value within 2^-64 of its probability.
FC_BOTH uint64_t random_below(uint64_t word, uint64_t range) {
#if defined(__CUDA_ARCH__)
  return __umul64hi(word, range);
#else
  __extension__ using Wide = unsigned __int128;
  return uint64_t(Wide(word) * range >> 64);
#endif
}

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
