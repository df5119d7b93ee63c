// dim3 and the built-in vector types, with CUDA's alignments.
#pragma once

struct uint3 {
  unsigned x, y, z;
};
struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
  constexpr dim3(uint3 v) : x(v.x), y(v.y), z(v.z) {}
};

#define EMULATOR_VECTOR2(type, name, bytes)     \
  struct alignas(bytes) name##2 { type x, y; }; \
  inline name##2 make_##name##2(type x, type y) { return {x, y}; }
#define EMULATOR_VECTOR4(type, name, bytes)           \
  struct alignas(bytes) name##4 { type x, y, z, w; }; \
  inline name##4 make_##name##4(type x, type y, type z, type w) { return {x, y, z, w}; }

EMULATOR_VECTOR2(unsigned char, uchar, 2)
EMULATOR_VECTOR4(unsigned char, uchar, 4)
EMULATOR_VECTOR2(short, short, 4)
EMULATOR_VECTOR4(short, short, 8)
EMULATOR_VECTOR2(unsigned short, ushort, 4)
EMULATOR_VECTOR4(unsigned short, ushort, 8)
EMULATOR_VECTOR2(int, int, 8)
EMULATOR_VECTOR4(int, int, 16)
EMULATOR_VECTOR2(unsigned, uint, 8)
EMULATOR_VECTOR4(unsigned, uint, 16)
EMULATOR_VECTOR2(long long, longlong, 16)
EMULATOR_VECTOR2(unsigned long long, ulonglong, 16)
EMULATOR_VECTOR2(float, float, 8)
EMULATOR_VECTOR4(float, float, 16)
EMULATOR_VECTOR2(double, double, 16)
#undef EMULATOR_VECTOR2
#undef EMULATOR_VECTOR4

struct float3 {
  float x, y, z;
};
struct int3 {
  int x, y, z;
};
inline float3 make_float3(float x, float y, float z) { return {x, y, z}; }
inline int3 make_int3(int x, int y, int z) { return {x, y, z}; }
inline uint3 make_uint3(unsigned x, unsigned y, unsigned z) { return {x, y, z}; }
