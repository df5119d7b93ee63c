// Stand-in for the toolkit's header of the same name and for cuda_bf16.h: binary16 and bfloat16 in software, storage and
// conversions that round to nearest even.
#pragma once

#include <cstdint>
#include <cstring>

namespace emu {

template <class To, class From>
To bits_as(From from) {
  static_assert(sizeof(To) == sizeof(From), "as many bits");
  To to;
  std::memcpy(&to, &from, sizeof to);
  return to;
}
inline uint32_t bits_of(float f) { return bits_as<uint32_t>(f); }
inline float float_of(uint32_t u) { return bits_as<float>(u); }

inline uint16_t to_half(float f) {
  const uint32_t u = bits_of(f), sign = u >> 16 & 0x8000u, size = u & 0x7fffffffu;
  if (size > 0x7f800000u) return 0x7fffu;                                 // the card's NaN
  if (size >= 0x477ff000u) return static_cast<uint16_t>(sign | 0x7c00u);  // from 65520 on: infinity
  if (size < 0x38800000u) {  // subnormal: a multiple of 2^-24, found by adding 0.5, whose last bit is 2^-24
    return static_cast<uint16_t>(sign | (bits_of(float_of(size) + 0.5f) - 0x3f000000u));
  }
  return static_cast<uint16_t>(sign | ((size - 0x38000000u + 0xfffu + (size >> 13 & 1u)) >> 13));
}
inline float from_half(uint16_t h) {
  const uint32_t sign = (h & 0x8000u) << 16, size = h & 0x7fffu;
  if (size >= 0x7c00u) return float_of(sign | 0x7f800000u | (size & 0x3ffu) << 13);
  if (size >= 0x400u) return float_of(sign | ((size << 13) + 0x38000000u));
  return float_of(sign | bits_of(static_cast<float>(size) * 5.9604644775390625e-8f));
}

inline uint16_t to_bfloat16(float f) {
  const uint32_t u = bits_of(f);
  if ((u & 0x7fffffffu) > 0x7f800000u) return 0x7fffu;
  return static_cast<uint16_t>((u + 0x7fffu + (u >> 16 & 1u)) >> 16);
}
inline float from_bfloat16(uint16_t b) { return float_of(static_cast<uint32_t>(b) << 16); }

/// The stand-in for both 16-bit types: storage that converts. Arithmetic on it is refused: the card would round each
/// result to 16 bits, a float here would not.
template <uint16_t (*To)(float), float (*From)(uint16_t)>
struct alignas(2) Float16 {
  uint16_t x;
  Float16() = default;
  Float16(float f) : x(To(f)) {}
  operator float() const { return From(x); }
  friend Float16 operator+(Float16, Float16) = delete;
  friend Float16 operator-(Float16, Float16) = delete;
  friend Float16 operator*(Float16, Float16) = delete;
  friend Float16 operator/(Float16, Float16) = delete;
};

}  // namespace emu

using __half = emu::Float16<emu::to_half, emu::from_half>;
inline __half __float2half_rn(float f) { return f; }
inline float __half2float(__half h) { return h; }

using __nv_bfloat16 = emu::Float16<emu::to_bfloat16, emu::from_bfloat16>;
inline __nv_bfloat16 __float2bfloat16_rn(float f) { return f; }
inline float __bfloat162float(__nv_bfloat16 b) { return b; }
