// The only file with asm. Each wrapper has an emulated twin of the same meaning.
#pragma once

#include "cuda/device.cuh"

#if defined(FC_EMULATED)
#define FC_SITE_LAST , ::emu::Site site = EMULATOR_HERE
#else
#define FC_SITE_LAST
#endif

namespace fastcnn::cuda::ptx {

/// Copies kBytes (4, 8 or 16; both addresses multiples of it) from global to shared memory: the first `valid` bytes,
/// zeros behind them. From sm_80 on asynchronously: commit(), wait<>() and a barrier come before the first use.
/// On sm_75 the copy is done at once.
template <int kBytes>
FC_DEVICE void copy_async(void* shared, const void* global, int valid = kBytes FC_SITE_LAST) {
  static_assert(kBytes == 4 || kBytes == 8 || kBytes == 16, "cp.async moves 4, 8 or 16 bytes");
#if defined(FC_EMULATED)
  ::emu::copy_async(shared, global, kBytes, valid, site);
  if (::emu::arch() < 80) {
    ::emu::copy_async_commit();
    ::emu::copy_async_wait(0);
  }
#elif defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  const unsigned to = static_cast<unsigned>(__cvta_generic_to_shared(shared));
  if constexpr (kBytes == 16) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(to), "l"(global), "r"(valid)
                 : "memory");
  } else {
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;\n" ::"r"(to), "l"(global), "n"(kBytes),
                 "r"(valid)
                 : "memory");
  }
#else
  const unsigned char* from = static_cast<const unsigned char*>(global);
  unsigned char* to = static_cast<unsigned char*>(shared);
  FC_UNROLL
  for (int i = 0; i < kBytes; ++i) to[i] = i < valid ? from[i] : 0;
#endif
}

/// Ends a group of this thread's copies.
FC_DEVICE void copy_commit() {
#if defined(FC_EMULATED)
  ::emu::copy_async_commit();
#elif defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  asm volatile("cp.async.commit_group;\n" ::: "memory");
#endif
}

/// Waits until at most the kLeft youngest groups of this thread are still under way.
template <int kLeft>
FC_DEVICE void copy_wait() {
#if defined(FC_EMULATED)
  ::emu::copy_async_wait(kLeft);
#elif defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  asm volatile("cp.async.wait_group %0;\n" ::"n"(kLeft) : "memory");
#endif
}

}  // namespace fastcnn::cuda::ptx
