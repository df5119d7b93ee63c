// Atomics, bit operations, casts and the maths that CUDA adds to C++. Atomics are relaxed, as on the card.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

namespace emu {

/// Memory is coherent here; this tells ThreadSanitizer what a fence on each side of an atomic orders.
void fence();

template <class T, class F>
T atomic_update(T* p, F&& f) {
  T old;
  __atomic_load(p, &old, __ATOMIC_RELAXED);
  T wanted = f(old);
  while (!__atomic_compare_exchange(p, &old, &wanted, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
    wanted = f(old);
  }
  return old;
}
template <class To, class From>
To bits_as(From from) {
  static_assert(sizeof(To) == sizeof(From), "as many bits");
  To to;
  std::memcpy(&to, &from, sizeof to);
  return to;
}

}  // namespace emu

template <class T>
T atomicAdd(T* p, T v) {
  if constexpr (sizeof(T) == sizeof(int) && T(-1) < T(0) && T(3) / 2 == 1) {
    return __atomic_fetch_add(p, v, __ATOMIC_RELAXED);  // signed sums wrap
  } else {
    return emu::atomic_update(p, [v](T old) { return old + v; });
  }
}
template <class T>
T atomicMax(T* p, T v) {
  return emu::atomic_update(p, [v](T old) { return old < v ? v : old; });
}
template <class T>
T atomicMin(T* p, T v) {
  return emu::atomic_update(p, [v](T old) { return v < old ? v : old; });
}
template <class T>
T atomicCAS(T* p, T compare, T v) {
  return emu::atomic_update(p, [=](T old) { return old == compare ? v : old; });
}
template <class T>
T atomicOr(T* p, T v) {
  return emu::atomic_update(p, [v](T old) { return static_cast<T>(old | v); });
}

inline void __threadfence() { emu::fence(); }
inline void __threadfence_block() { emu::fence(); }

inline int __popc(unsigned v) { return __builtin_popcount(v); }
inline int __ffs(int v) { return __builtin_ffs(v); }
inline int __clz(int v) { return v ? __builtin_clz(static_cast<unsigned>(v)) : 32; }
inline unsigned __umulhi(unsigned a, unsigned b) {
  return static_cast<unsigned>(static_cast<uint64_t>(a) * b >> 32);
}

inline int __float_as_int(float v) { return emu::bits_as<int>(v); }
inline unsigned __float_as_uint(float v) { return emu::bits_as<unsigned>(v); }
inline float __int_as_float(int v) { return emu::bits_as<float>(v); }
inline float __uint_as_float(unsigned v) { return emu::bits_as<float>(v); }
inline long long __double_as_longlong(double v) { return emu::bits_as<long long>(v); }
inline double __longlong_as_double(long long v) { return emu::bits_as<double>(v); }

template <class T>
T __ldg(const T* p) {
  return *p;
}

#define EMULATOR_MIN_MAX(type)                              \
  inline type min(type a, type b) { return b < a ? b : a; } \
  inline type max(type a, type b) { return a < b ? b : a; }
EMULATOR_MIN_MAX(int)
EMULATOR_MIN_MAX(unsigned)
EMULATOR_MIN_MAX(long)
EMULATOR_MIN_MAX(unsigned long)
EMULATOR_MIN_MAX(long long)
EMULATOR_MIN_MAX(unsigned long long)
#undef EMULATOR_MIN_MAX
inline float min(float a, float b) { return std::fmin(a, b); }
inline float max(float a, float b) { return std::fmax(a, b); }
inline double min(double a, double b) { return std::fmin(a, b); }
inline double max(double a, double b) { return std::fmax(a, b); }

inline float rsqrtf(float v) { return 1.0f / std::sqrt(v); }
inline double rsqrt(double v) { return 1.0 / std::sqrt(v); }
inline float __fmaf_rn(float a, float b, float c) { return std::fma(a, b, c); }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fmul_rn(float a, float b) { return a * b; }
// __expf, __sinf and their like are names of glibc that cannot be defined here: kernels call them by fc:: names.
