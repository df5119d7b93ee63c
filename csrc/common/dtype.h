// Element types. float16 and bfloat16 are storage types: arithmetic happens in float32.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "common/check.h"

namespace fastcnn {

enum class DType : uint8_t { float32, float64, float16, bfloat16, uint8, int32, int64, boolean };

inline size_t size_of(DType t) {
  constexpr size_t kBytes[] = {4, 8, 2, 2, 1, 4, 8, 1};
  return kBytes[static_cast<int>(t)];
}
inline const char* name_of(DType t) {
  constexpr const char* kNames[] = {"float32", "float64", "float16", "bfloat16",
                                    "uint8",   "int32",   "int64",   "bool"};
  return kNames[static_cast<int>(t)];
}
inline bool is_float(DType t) { return t <= DType::bfloat16; }

/// IEEE binary16, converted in software (round to nearest even); NaN stays NaN, subnormals are kept.
struct Half {
  uint16_t bits;
  Half() = default;
  Half(float f) {
    uint32_t u;
    std::memcpy(&u, &f, 4);
    const uint32_t sign = (u >> 16) & 0x8000u;
    const uint32_t magnitude = u & 0x7fffffffu;
    if (magnitude >= 0x7f800000u) {  // inf, NaN (quieted)
      bits = static_cast<uint16_t>(sign | 0x7c00u | (magnitude > 0x7f800000u ? 0x200u : 0u));
    } else if (magnitude >= 0x477ff000u) {  // rounds to 65536 or more
      bits = static_cast<uint16_t>(sign | 0x7c00u);
    } else if (magnitude < 0x38800000u) {  // subnormal: let the FPU round at the right bit
      float shifted, magic = 0.5f;
      std::memcpy(&shifted, &magnitude, 4);
      shifted += magic;
      uint32_t s;
      std::memcpy(&s, &shifted, 4);
      bits = static_cast<uint16_t>(sign | (s - 0x3f000000u));
    } else {
      const uint32_t round = 0xfffu + ((magnitude >> 13) & 1u);
      bits = static_cast<uint16_t>(sign | ((magnitude + round - 0x38000000u) >> 13));
    }
  }
  operator float() const {
    const uint32_t sign = static_cast<uint32_t>(bits & 0x8000u) << 16;
    const uint32_t magnitude = bits & 0x7fffu;
    uint32_t u;
    if (magnitude >= 0x7c00u) {
      u = sign | 0x7f800000u | ((magnitude & 0x3ffu) << 13);
    } else if (magnitude >= 0x400u) {
      u = sign | ((magnitude << 13) + 0x38000000u);
    } else {  // subnormal: magnitude * 2^-24 is exact in float32
      float f = static_cast<float>(magnitude) * 5.9604644775390625e-8f;
      std::memcpy(&u, &f, 4);
      u |= sign;
    }
    float f;
    std::memcpy(&f, &u, 4);
    return f;
  }
};

/// bfloat16: the upper half of a float32, rounded to nearest even.
struct BFloat16 {
  uint16_t bits;
  BFloat16() = default;
  BFloat16(float f) {
    uint32_t u;
    std::memcpy(&u, &f, 4);
    const bool nan = (u & 0x7fffffffu) > 0x7f800000u;
    bits = static_cast<uint16_t>(nan ? (u >> 16) | 0x40u : (u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
  }
  operator float() const {
    const uint32_t u = static_cast<uint32_t>(bits) << 16;
    float f;
    std::memcpy(&f, &u, 4);
    return f;
  }
};

template <class T>
struct Type {
  using type = T;
};

/// The type in which values of T are accumulated: float32 for the 16-bit types, T itself otherwise.
template <class T>
struct AccumulatorOf {
  using type = T;
};
template <>
struct AccumulatorOf<Half> {
  using type = float;
};
template <>
struct AccumulatorOf<BFloat16> {
  using type = float;
};
template <class T>
using Accumulator = typename AccumulatorOf<T>::type;

/// Calls f(Type<T>{}) with the C++ type of a float dtype; any other dtype is a TypeError naming `op`.
template <class F>
decltype(auto) dispatch_float(DType t, const char* op, F&& f) {
  switch (t) {
    case DType::float32: return f(Type<float>{});
    case DType::float64: return f(Type<double>{});
    case DType::float16: return f(Type<Half>{});
    case DType::bfloat16: return f(Type<BFloat16>{});
    default:
      fail<TypeError>(op, ": this op takes float tensors, got ", name_of(t),
                      "; convert with .to(\"float32\") (and scale images, e.g. / 255)");
  }
}

/// Calls f(Type<T>{}) with the C++ type of any dtype.
template <class F>
decltype(auto) dispatch_all(DType t, F&& f) {
  switch (t) {
    case DType::float32: return f(Type<float>{});
    case DType::float64: return f(Type<double>{});
    case DType::float16: return f(Type<Half>{});
    case DType::bfloat16: return f(Type<BFloat16>{});
    case DType::uint8: return f(Type<uint8_t>{});
    case DType::int32: return f(Type<int32_t>{});
    case DType::int64: return f(Type<int64_t>{});
    default: return f(Type<bool>{});
  }
}

}  // namespace fastcnn
