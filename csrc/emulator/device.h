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
unsigned match_any(unsigned mask, uint64_t bits, Site site);
enum class Reduce { add, min_signed, max_signed, min_unsigned, max_unsigned, bit_and, bit_or, bit_xor };
unsigned reduce(Reduce kind, unsigned mask, unsigned value, Site site);
/// The lanes of the caller's warp that have not returned. The hardware may say less.
unsigned active_mask();

/// Shared memory (cuda/device.cuh): the variable of the running block that belongs to `key`, made at first use.
void* shared_variable(const void* key, size_t bytes, const char* name, Site site);
void* dynamic_shared();

/// cp.async, as late as the rules allow: the destination is NaN until the group was waited for.
void copy_async(void* shared, const void* global, int bytes, int source_bytes, Site site);
void copy_async_commit();
void copy_async_wait(int groups_left);

/// A checked access of cuda/vec.cuh: alignment, bounds, counters. An error ends the kernel.
enum class Access { load, store };
void check_access(const void* p, size_t bytes, Access kind, Site site);

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
inline unsigned reduce(Reduce kind, unsigned mask, int value, Site site) {
  return reduce(kind, mask, static_cast<unsigned>(value), site);
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

template <class T>
T __shfl_sync(unsigned mask, T value, int lane, int width = 32, emu::Site site = EMULATOR_HERE) {
  return emu::shuffle_as(emu::Shuffle::index, mask, value, lane, width, site);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned by, int width = 32, emu::Site site = EMULATOR_HERE) {
  return emu::shuffle_as(emu::Shuffle::up, mask, value, static_cast<int>(by), width, site);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned by, int width = 32, emu::Site site = EMULATOR_HERE) {
  return emu::shuffle_as(emu::Shuffle::down, mask, value, static_cast<int>(by), width, site);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32, emu::Site site = EMULATOR_HERE) {
  return emu::shuffle_as(emu::Shuffle::exclusive_or, mask, value, bits, width, site);
}

inline unsigned __ballot_sync(unsigned mask, int p, emu::Site site = EMULATOR_HERE) {
  return emu::ballot(mask, p, "__ballot_sync", site);
}
inline int __any_sync(unsigned mask, int p, emu::Site site = EMULATOR_HERE) {
  return emu::ballot(mask, p, "__any_sync", site) != 0;
}
inline int __all_sync(unsigned mask, int p, emu::Site site = EMULATOR_HERE) {
  return emu::ballot(mask, !p, "__all_sync", site) == 0;
}
template <class T>
unsigned __match_any_sync(unsigned mask, T value, emu::Site site = EMULATOR_HERE) {
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  return emu::match_any(mask, bits, site);
}
inline unsigned __activemask() { return emu::active_mask(); }

inline unsigned __reduce_add_sync(unsigned mask, unsigned v, emu::Site site = EMULATOR_HERE) {
  return emu::reduce(emu::Reduce::add, mask, v, site);
}
inline int __reduce_add_sync(unsigned mask, int v, emu::Site site = EMULATOR_HERE) {
  return static_cast<int>(emu::reduce(emu::Reduce::add, mask, v, site));
}
inline unsigned __reduce_min_sync(unsigned mask, unsigned v, emu::Site site = EMULATOR_HERE) {
  return emu::reduce(emu::Reduce::min_unsigned, mask, v, site);
}
inline int __reduce_min_sync(unsigned mask, int v, emu::Site site = EMULATOR_HERE) {
  return static_cast<int>(emu::reduce(emu::Reduce::min_signed, mask, v, site));
}
inline unsigned __reduce_max_sync(unsigned mask, unsigned v, emu::Site site = EMULATOR_HERE) {
  return emu::reduce(emu::Reduce::max_unsigned, mask, v, site);
}
inline int __reduce_max_sync(unsigned mask, int v, emu::Site site = EMULATOR_HERE) {
  return static_cast<int>(emu::reduce(emu::Reduce::max_signed, mask, v, site));
}
inline unsigned __reduce_and_sync(unsigned mask, unsigned v, emu::Site site = EMULATOR_HERE) {
  return emu::reduce(emu::Reduce::bit_and, mask, v, site);
}
inline unsigned __reduce_or_sync(unsigned mask, unsigned v, emu::Site site = EMULATOR_HERE) {
  return emu::reduce(emu::Reduce::bit_or, mask, v, site);
}
inline unsigned __reduce_xor_sync(unsigned mask, unsigned v, emu::Site site = EMULATOR_HERE) {
  return emu::reduce(emu::Reduce::bit_xor, mask, v, site);
}
inline void __trap(emu::Site site = EMULATOR_HERE) { emu::trap("__trap", site); }
