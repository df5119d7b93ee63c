// What the tensor-core loop (mma_tile.cuh) multiplies; sums are float32.
//
//   kind       elements             products   error of each, relative
//   Mma16<T>   float16, bfloat16    1          none: exact in float32
//   Tf32       float32              1          2^-11: operands are rounded to tf32, 11 bits of mantissa
//   Tf32x3     float32              3          2^-22: operands are big + small, tf32 each; small * small is left out
//
// Tensor cores cut off where float32 arithmetic rounds, so that the errors of a long sum pile up on one side. With Tf32x3
// they would outweigh all others: each step's products get sums of their own, which are added to the rest in float32.
#pragma once

#include <type_traits>

#include "cuda/ptx.cuh"

namespace fastcnn::cuda {

template <class T>
struct Mma16 {
  using Element = T;
  static constexpr bool kNeedsSm80 = std::is_same_v<T, __nv_bfloat16>;
  static constexpr int kParts = 1;
  template <int kCount>
  FC_METHOD static void split(const unsigned (&words)[kCount], unsigned (&parts)[1][kCount]) {
    FC_UNROLL
    for (int i = 0; i < kCount; ++i) parts[0][i] = words[i];
  }
  FC_METHOD static void multiply(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    if constexpr (kNeedsSm80) {
      ptx::mma_bf16(c, a, b);
    } else {
      ptx::mma_f16(c, a, b);
    }
  }
};

struct Tf32 {
  using Element = float;
  static constexpr bool kNeedsSm80 = true;
  static constexpr int kParts = 1;
  /// To the nearest: half a unit of the last bit that the card looks at; NaN and inf stay what they are.
  template <int kCount>
  FC_METHOD static void split(const unsigned (&words)[kCount], unsigned (&parts)[1][kCount]) {
    FC_UNROLL
    for (int i = 0; i < kCount; ++i)
      parts[0][i] = (words[i] & 0x7fffffffu) < 0x7f800000u ? words[i] + 0x1000u : words[i];
  }
  FC_METHOD static void multiply(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    ptx::mma_tf32(c, a, b);
  }
};

struct Tf32x3 : Tf32 {
  static constexpr int kParts = 2;
  /// Big is the nearest tf32, so small has 12 bits at most, and loses one of them at most. NaN and inf make small a NaN.
  template <int kCount>
  FC_METHOD static void split(const unsigned (&words)[kCount], unsigned (&parts)[2][kCount]) {
    FC_UNROLL
    for (int i = 0; i < kCount; ++i) {
      parts[0][i] = (words[i] + 0x1000u) & 0xffffe000u;
      parts[1][i] = __float_as_uint(__uint_as_float(words[i]) - __uint_as_float(parts[0][i]));
    }
  }
};

}  // namespace fastcnn::cuda
