// What kernels see and call: qualifiers, their place in the grid, vector types, barriers, warp collectives, asynchronous
// copies, atomics and the little maths that they take from CUDA beyond C++. What no kernel calls is not here.
#pragma once

#include <cuda_fp16.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

// __shared__ is left undefined on purpose: shared memory is declared with FC_SHARED (cuda/device.cuh).
// __noinline__ too: the C++ library uses that word.
#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)

struct uint3 {
  unsigned x, y, z;
};
struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
  constexpr dim3(uint3 v) : x(v.x), y(v.y), z(v.z) {}
};
struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};

// The scheduler sets them whenever another GPU thread gets its turn; each OS thread has its own.
#define EMULATOR_TLS __attribute__((tls_model("initial-exec")))
extern __thread uint3 threadIdx EMULATOR_TLS, blockIdx EMULATOR_TLS;
extern __thread dim3 blockDim EMULATOR_TLS, gridDim EMULATOR_TLS;

namespace emu {

struct Site {
  const char* file;
  int line;
};
// As a default argument: the line of the call.
#define EMULATOR_HERE {__builtin_FILE(), __builtin_LINE()}

/// The caller's place in its warp.
unsigned lane();
/// The bits of lane `place` of the caller's segment of `width` lanes; its own where the segment has no such lane.
uint64_t shuffle(const char* name, unsigned mask, uint64_t bits, unsigned place, int width, Site site);

/// Shared memory (cuda/device.cuh): the variable of the running block that belongs to `key`, made at first use.
void* shared_variable(const void* key, size_t bytes, const char* name, Site site);
void* dynamic_shared();

/// cp.async, as late as the rules allow: the destination is NaN until the group was waited for.
void copy_async(void* shared, const void* global, int bytes, int source_bytes, Site site);
void copy_async_commit();
void copy_async_wait(int groups_left);

/// ldmatrix: 1, 2 or 4 matrices of 8 x 8 16-bit elements; lane i names row i % 8 of matrix i / 8.
void load_matrices(int count, bool transposed, const void* row, unsigned* out, Site site);
/// mma.sync, c += a b: m16n8k16 of f16 or bf16, m16n8k8 of f16 (sm_75 too) or tf32.
enum class Matrix { f16, bf16, f16_k8, tf32 };
void multiply_matrices(Matrix kind, const unsigned* a, const unsigned* b, float* c, Site site);

/// A checked access of cuda/vec.cuh: alignment (to `bytes` where 0 is given), bounds, counters. An error ends the kernel.
enum class Access { load, store };
void check_access(const void* p, size_t bytes, Access kind, Site site, size_t alignment = 0);

/// 75, 80, 90: the emulated card's architecture.
int arch();

template <class T>
T shuffle_as(const char* name, unsigned mask, T value, unsigned place, int width, Site site) {
  static_assert(sizeof(T) <= 8, "a shuffle moves up to 8 bytes");
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  bits = shuffle(name, mask, bits, place, width, site);
  std::memcpy(&value, &bits, sizeof(T));
  return value;
}

/// Relaxed, as on the card.
template <class T, class F>
T atomic_update(T* p, F&& f) {
  T old, wanted;
  __atomic_load(p, &old, __ATOMIC_RELAXED);
  do wanted = f(old);
  while (!__atomic_compare_exchange(p, &old, &wanted, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
  return old;
}

}  // namespace emu

void __syncthreads(emu::Site site = EMULATOR_HERE);
void __syncwarp(unsigned mask = 0xffffffffu, emu::Site site = EMULATOR_HERE);
unsigned __ballot_sync(unsigned mask, int predicate, emu::Site site = EMULATOR_HERE);
/// Memory is coherent here; this tells ThreadSanitizer what a fence on each side of an atomic orders.
void __threadfence();
/// Ends the kernel with an error that names the line.
[[noreturn]] void __trap(emu::Site site = EMULATOR_HERE);

#define EMULATOR_SHUFFLE(name, by, place)                                                 \
  template <class T>                                                                      \
  T name(unsigned mask, T value, by at, int width = 32, emu::Site site = EMULATOR_HERE) { \
    const unsigned last = static_cast<unsigned>(width) - 1;                               \
    return emu::shuffle_as(#name, mask, value, place, width, site);                       \
  }
EMULATOR_SHUFFLE(__shfl_sync, int, static_cast<unsigned>(at) & last)
EMULATOR_SHUFFLE(__shfl_up_sync, unsigned, (emu::lane() & last) - at)
EMULATOR_SHUFFLE(__shfl_down_sync, unsigned, (emu::lane() & last) + at)
EMULATOR_SHUFFLE(__shfl_xor_sync, int, (emu::lane() & last) ^ static_cast<unsigned>(at))
#undef EMULATOR_SHUFFLE

template <class T>
T atomicAdd(T* p, T v) {
  return emu::atomic_update(p, [v](T old) { return old + v; });
}
template <class T>
T atomicMax(T* p, T v) {
  return emu::atomic_update(p, [v](T old) { return old < v ? v : old; });
}

inline unsigned __umulhi(unsigned a, unsigned b) {
  return static_cast<unsigned>(static_cast<uint64_t>(a) * b >> 32);
}
inline unsigned __float_as_uint(float v) { return emu::bits_as<unsigned>(v); }
inline float __int_as_float(int v) { return emu::bits_as<float>(v); }
inline float __uint_as_float(unsigned v) { return emu::bits_as<float>(v); }
inline unsigned min(unsigned a, unsigned b) { return b < a ? b : a; }
// __expf, __sinf and their like are names of glibc that cannot be defined here: kernels call them by fc:: names.
