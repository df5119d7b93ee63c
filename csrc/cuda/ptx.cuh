// The only file with asm. Each wrapper has an emulated twin of the same meaning.
#pragma once

#include "cuda/device.cuh"

#if defined(FC_EMULATED)
#define FC_SITE_LAST , ::emu::Site site = EMULATOR_HERE
#else
#define FC_SITE_LAST
#endif

namespace fastcnn::cuda::ptx {

/// False in code for cards before sm_80. The emulator decides when it runs.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
constexpr bool kSm80 = false;
#else
constexpr bool kSm80 = true;
#endif

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
  if constexpr (kBytes == 16) {
    if (valid == 16) {
      *reinterpret_cast<uint4*>(to) = *reinterpret_cast<const uint4*>(from);
      return;
    }
  }
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

/// ldmatrix: kCount (1, 2 or 4) matrices of 8 x 8 16-bit elements from shared memory, one word of two neighbours a
/// lane and matrix; transposed: neighbours of a column. Lane i gives the address of row i % 8 of matrix i / 8, a
/// multiple of 16 bytes; lanes from 8 kCount on give any.
template <int kCount, bool kTransposed>
FC_DEVICE void load_matrices(unsigned (&out)[kCount], const void* row FC_SITE_LAST) {
  static_assert(kCount == 1 || kCount == 2 || kCount == 4, "ldmatrix loads 1, 2 or 4 matrices");
#if defined(FC_EMULATED)
  ::emu::load_matrices(kCount, kTransposed, row, out, site);
#elif defined(__CUDA_ARCH__)
  const unsigned from = static_cast<unsigned>(__cvta_generic_to_shared(row));
#define FC_LDMATRIX(shape, ...)                                                                       \
  if constexpr (kTransposed) {                                                                        \
    asm volatile("ldmatrix.sync.aligned.m8n8." shape(".trans") : __VA_ARGS__ : "r"(from) : "memory"); \
  } else {                                                                                            \
    asm volatile("ldmatrix.sync.aligned.m8n8." shape("") : __VA_ARGS__ : "r"(from) : "memory");       \
  }
#define FC_X1(trans) "x1" trans ".shared.b16 {%0}, [%1];\n"
#define FC_X2(trans) "x2" trans ".shared.b16 {%0, %1}, [%2];\n"
#define FC_X4(trans) "x4" trans ".shared.b16 {%0, %1, %2, %3}, [%4];\n"
  if constexpr (kCount == 1) {
    FC_LDMATRIX(FC_X1, "=r"(out[0]))
  } else if constexpr (kCount == 2) {
    FC_LDMATRIX(FC_X2, "=r"(out[0]), "=r"(out[1]))
  } else {
    FC_LDMATRIX(FC_X4, "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3]))
  }
#undef FC_LDMATRIX
#undef FC_X1
#undef FC_X2
#undef FC_X4
#endif
}

// mma.sync, c += a b in float32, c of 16 x 8. With group = lane / 4 and t = lane % 4, a lane holds
//   c[0], c[1]   row group,     columns 2 t, 2 t + 1        c[2], c[3]   row group + 8
//   a[0]         row group,     k = 2 t, 2 t + 1            a[1]         row group + 8
//   a[2], a[3]   as a[0], a[1], k + 8
//   b[0]         column group,  k = 2 t, 2 t + 1            b[1]         k + 8
// For tf32 a word is one element: k = t, and k + 4 in place of k + 8. That is what load_matrices gives.

#if defined(FC_EMULATED)
#define FC_MMA(kind, shape, ...) ::emu::multiply_matrices(::emu::Matrix::kind, a, b, c, site)
#elif defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
#define FC_MMA(kind, shape, type)                                                       \
  asm volatile("mma.sync.aligned." shape ".row.col.f32." type "." type                  \
               ".f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};\n" \
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])                         \
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]))
#else  // never chosen for such a card
#define FC_MMA(kind, shape, type) __trap()
#endif

/// 16 x 8 x 16, bfloat16; sm_80.
FC_DEVICE void mma_bf16(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2] FC_SITE_LAST) {
  FC_MMA(bf16, "m16n8k16", "bf16");
}
/// 16 x 8 x 8, tf32 (float32 whose last 13 bits are not looked at); sm_80.
FC_DEVICE void mma_tf32(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2] FC_SITE_LAST) {
  FC_MMA(tf32, "m16n8k8", "tf32");
}

/// 16 x 8 x 8, float16; sm_75 and later.
FC_DEVICE void mma_f16_k8(float (&c)[4], const unsigned (&a)[2], const unsigned (&b)[1] FC_SITE_LAST) {
#if defined(FC_EMULATED)
  ::emu::multiply_matrices(::emu::Matrix::f16_k8, a, b, c, site);
#elif defined(__CUDA_ARCH__)
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};\n"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(b[0]));
#endif
}
/// 16 x 8 x 16, float16: one instruction from sm_80 on, two of 8 on sm_75.
FC_DEVICE void mma_f16(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2] FC_SITE_LAST) {
#if defined(FC_EMULATED)
  if (::emu::arch() >= 80) return ::emu::multiply_matrices(::emu::Matrix::f16, a, b, c, site);
#elif defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  FC_MMA(f16, "m16n8k16", "f16");
  return;
#endif
#if defined(FC_EMULATED) || (defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800)
  const unsigned low[2] = {a[0], a[1]}, high[2] = {a[2], a[3]}, first[1] = {b[0]}, second[1] = {b[1]};
#if defined(FC_EMULATED)
  mma_f16_k8(c, low, first, site);
  mma_f16_k8(c, high, second, site);
#else
  mma_f16_k8(c, low, first);
  mma_f16_k8(c, high, second);
#endif
#endif
}
#undef FC_MMA

}  // namespace fastcnn::cuda::ptx
