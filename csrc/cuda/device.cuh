// Words that kernels are written in: qualifiers, loops, shared memory. Every .cu file is also C++17 for the emulator
// (csrc/emulator), which is why shared memory has macros of its own.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#include <stdint.h>

#include <limits>

#define FC_KERNEL static __global__ void
#define FC_DEVICE static __device__ __forceinline__
#define FC_METHOD __device__ __forceinline__

#if defined(FC_EMULATED)
#define FC_UNROLL
// FC_SHARED(float, tile, [32][33]); declares a variable of the block. Its red zones and its NaN for each block need
// an arena; a macro, because references of array type are the only portable stand-in for __shared__.
#define FC_SHARED(type, name, ...)                                             \
  static const char fc_key_##name = 0;                                         \
  typedef type fc_type_##name __VA_ARGS__;                                     \
  fc_type_##name& name = *static_cast<fc_type_##name*>(::emu::shared_variable( \
      &fc_key_##name, sizeof(fc_type_##name), #name, ::emu::Site{__FILE__, __LINE__}))
#else
#define FC_UNROLL _Pragma("unroll")
#define FC_SHARED(type, name, ...) __shared__ type name __VA_ARGS__
#endif

namespace fastcnn::cuda {

/// The launch's dynamic shared memory, at a multiple of 16 bytes (1024 would round up every kernel's static part).
template <class T>
FC_DEVICE T* dynamic_smem() {
#if defined(FC_EMULATED)
  return static_cast<T*>(::emu::dynamic_shared());
#else
  extern __shared__ __align__(16) unsigned char fc_dynamic_smem[];
  return reinterpret_cast<T*>(fc_dynamic_smem);
#endif
}

constexpr unsigned kFullMask = 0xffffffffu;

// Arithmetic happens in float32 for the 16-bit types, in int32 for bytes, in T itself otherwise.
FC_DEVICE float widen(float v) { return v; }
FC_DEVICE double widen(double v) { return v; }
FC_DEVICE float widen(__half v) { return __half2float(v); }
FC_DEVICE float widen(__nv_bfloat16 v) { return __bfloat162float(v); }
FC_DEVICE int32_t widen(uint8_t v) { return v; }
FC_DEVICE int32_t widen(bool v) { return v; }
FC_DEVICE int32_t widen(int32_t v) { return v; }
FC_DEVICE int64_t widen(int64_t v) { return v; }
/// Narrow<T>::of(v): v as a T; to integers by truncation, to bool by comparison with 0.
template <class T>
struct Narrow {
  template <class A>
  FC_DEVICE T of(A v) {
    return static_cast<T>(v);
  }
};
template <>
struct Narrow<__half> {
  FC_DEVICE __half of(float v) { return __float2half_rn(v); }
};
template <>
struct Narrow<__nv_bfloat16> {
  FC_DEVICE __nv_bfloat16 of(float v) { return __float2bfloat16_rn(v); }
};
/// Ends of a type's range, infinite where it has infinities; here, because kernels may not call numeric_limits.
template <class T>
constexpr T kHighest =
    std::numeric_limits<T>::has_infinity ? std::numeric_limits<T>::infinity() : std::numeric_limits<T>::max();
template <class T>
constexpr T kLowest = std::numeric_limits<T>::has_infinity ? -std::numeric_limits<T>::infinity()
                                                           : std::numeric_limits<T>::lowest();
template <class T>
using Wide = decltype(widen(T()));

}  // namespace fastcnn::cuda
