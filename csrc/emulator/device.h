// Qualifiers, barriers, warp collectives and asynchronous copies, as kernels call them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "emulator/thread.h"

// __shared__ is left undefined on purpose: shared memory is declared with FC_SHARED (cuda/device.cuh).
// __noinline__ too: the C++ library uses that word.
#define __global__
#define __device__
#define __host__
#define __constant__
#define __grid_constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(n) alignas(n)
constexpr int warpSize = 32;

namespace emu {

enum class Sync { plain, count, all, any };
int sync_block(Sync kind, int predicate, Site site);
void sync_warp(unsigned mask, Site site);

enum class Shuffle { index, up, down, exclusive_or };
uint64_t shuffle(Shuffle kind, unsigned mask, uint64_t bits, int lane, int width, Site site);
unsigned ballot(unsigned mask, int predicate, const char* name, Site site);
enum class Reduce { add, min_signed, max_signed, min_unsigned, max_unsigned, bit_and, bit_or, bit_xor };
unsigned reduce(Reduce kind, unsigned mask, unsigned value, const char* name, Site site);
/// The lanes of the caller's warp that have not returned. The hardware may say less.
unsigned active_mask();

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
/// Ends the kernel with an error that names the line.
[[noreturn]] void trap(const char* what, Site site);

template <class T>
T shuffle_as(Shuffle kind, unsigned mask, T value, int lane, int width, Site site) {
  static_assert(sizeof(T) <= 8, "a shuffle moves up to 8 bytes");
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  bits = shuffle(kind, mask, bits, lane, width, site);
  std::memcpy(&value, &bits, sizeof(T));
  return value;
}

}  // namespace emu

inline void __syncthreads(emu::Site site = EMULATOR_HERE) { emu::sync_block(emu::Sync::plain, 0, site); }
inline int __syncthreads_count(int p, emu::Site site = EMULATOR_HERE) {
  return emu::sync_block(emu::Sync::count, p, site);
}
inline int __syncthreads_and(int p, emu::Site site = EMULATOR_HERE) {
  return emu::sync_block(emu::Sync::all, p, site);
}
inline int __syncthreads_or(int p, emu::Site site = EMULATOR_HERE) {
  return emu::sync_block(emu::Sync::any, p, site);
}
inline void __syncwarp(unsigned mask = 0xffffffffu, emu::Site site = EMULATOR_HERE) {
  emu::sync_warp(mask, site);
}

#define EMULATOR_SHUFFLE(name, kind, by)                                                          \
  template <class T>                                                                              \
  T name(unsigned mask, T value, by lane, int width = 32, emu::Site site = EMULATOR_HERE) {       \
    return emu::shuffle_as(emu::Shuffle::kind, mask, value, static_cast<int>(lane), width, site); \
  }
EMULATOR_SHUFFLE(__shfl_sync, index, int)
EMULATOR_SHUFFLE(__shfl_up_sync, up, unsigned)
EMULATOR_SHUFFLE(__shfl_down_sync, down, unsigned)
EMULATOR_SHUFFLE(__shfl_xor_sync, exclusive_or, int)
#undef EMULATOR_SHUFFLE

inline unsigned __ballot_sync(unsigned mask, int p, emu::Site site = EMULATOR_HERE) {
  return emu::ballot(mask, p, "__ballot_sync", site);
}
inline int __any_sync(unsigned mask, int p, emu::Site site = EMULATOR_HERE) {
  return emu::ballot(mask, p, "__any_sync", site) != 0;
}
inline int __all_sync(unsigned mask, int p, emu::Site site = EMULATOR_HERE) {
  return emu::ballot(mask, !p, "__all_sync", site) == 0;
}
inline unsigned __activemask() { return emu::active_mask(); }

#define EMULATOR_REDUCE(name, type, kind)                                                                 \
  inline type __reduce_##name##_sync(unsigned mask, type v, emu::Site site = EMULATOR_HERE) {             \
    return static_cast<type>(                                                                             \
        emu::reduce(emu::Reduce::kind, mask, static_cast<unsigned>(v), "__reduce_" #name "_sync", site)); \
  }
EMULATOR_REDUCE(add, unsigned, add)
EMULATOR_REDUCE(add, int, add)
EMULATOR_REDUCE(min, unsigned, min_unsigned)
EMULATOR_REDUCE(min, int, min_signed)
EMULATOR_REDUCE(max, unsigned, max_unsigned)
EMULATOR_REDUCE(max, int, max_signed)
EMULATOR_REDUCE(and, unsigned, bit_and)
EMULATOR_REDUCE(or, unsigned, bit_or)
EMULATOR_REDUCE(xor, unsigned, bit_xor)
#undef EMULATOR_REDUCE
inline void __trap(emu::Site site = EMULATOR_HERE) { emu::trap("__trap", site); }
