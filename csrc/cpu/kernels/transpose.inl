// Transposition in registers. A tile is `lanes` times N rows of N elements, where N elements fill 16 bytes: register k
// takes rows k, N + k, 2N + k ... of the tile, one in each 16-byte lane; log2(N) rounds of interleaving registers i and
// i + N/2 then leave column m of all rows in register m, in order. The widest loads and stores an instruction set has,
// and one source for all element sizes.
#pragma once

#include "cpu/kernels/interleave.inl"
#include "cpu/kernels/transpose.h"
#include "cpu/kernels/vec.h"

namespace fastcnn::cpu::FC_ISA {
namespace {

#if defined(FC_VEC_NEON)

struct Lanes1 {
  static constexpr int kCount = 1;
  using V = uint8x16_t;
  static FC_INLINE V load(const char* p, int64_t) { return vld1q_u8((const uint8_t*)p); }
  static FC_INLINE void store(char* p, V v) { vst1q_u8((uint8_t*)p, v); }
  static FC_INLINE void stream(char* p, V v) { vst1q_u8((uint8_t*)p, v); }
  template <int kBytes>
  static FC_INLINE V low(V a, V b) {
    if constexpr (kBytes == 1) return vzip1q_u8(a, b);
    if constexpr (kBytes == 2)
      return vreinterpretq_u8_u16(vzip1q_u16(vreinterpretq_u16_u8(a), vreinterpretq_u16_u8(b)));
    if constexpr (kBytes == 4)
      return vreinterpretq_u8_u32(vzip1q_u32(vreinterpretq_u32_u8(a), vreinterpretq_u32_u8(b)));
    if constexpr (kBytes == 8)
      return vreinterpretq_u8_u64(vzip1q_u64(vreinterpretq_u64_u8(a), vreinterpretq_u64_u8(b)));
  }
  template <int kBytes>
  static FC_INLINE V high(V a, V b) {
    if constexpr (kBytes == 1) return vzip2q_u8(a, b);
    if constexpr (kBytes == 2)
      return vreinterpretq_u8_u16(vzip2q_u16(vreinterpretq_u16_u8(a), vreinterpretq_u16_u8(b)));
    if constexpr (kBytes == 4)
      return vreinterpretq_u8_u32(vzip2q_u32(vreinterpretq_u32_u8(a), vreinterpretq_u32_u8(b)));
    if constexpr (kBytes == 8)
      return vreinterpretq_u8_u64(vzip2q_u64(vreinterpretq_u64_u8(a), vreinterpretq_u64_u8(b)));
  }
};
using LanesMost = Lanes1;

#else

// The interleaving instructions of one register width, by element size.
#define FC_INTERLEAVE(prefix)                                        \
  template <int kBytes>                                              \
  static FC_INLINE V low(V a, V b) {                                 \
    if constexpr (kBytes == 1) return prefix##_unpacklo_epi8(a, b);  \
    if constexpr (kBytes == 2) return prefix##_unpacklo_epi16(a, b); \
    if constexpr (kBytes == 4) return prefix##_unpacklo_epi32(a, b); \
    if constexpr (kBytes == 8) return prefix##_unpacklo_epi64(a, b); \
  }                                                                  \
  template <int kBytes>                                              \
  static FC_INLINE V high(V a, V b) {                                \
    if constexpr (kBytes == 1) return prefix##_unpackhi_epi8(a, b);  \
    if constexpr (kBytes == 2) return prefix##_unpackhi_epi16(a, b); \
    if constexpr (kBytes == 4) return prefix##_unpackhi_epi32(a, b); \
    if constexpr (kBytes == 8) return prefix##_unpackhi_epi64(a, b); \
  }

struct Lanes1 {
  static constexpr int kCount = 1;
  using V = __m128i;
  static FC_INLINE V load(const char* p, int64_t) { return _mm_loadu_si128((const V*)p); }
  static FC_INLINE void store(char* p, V v) { _mm_storeu_si128((V*)p, v); }
  static FC_INLINE void stream(char* p, V v) { _mm_stream_si128((V*)p, v); }
  FC_INTERLEAVE(_mm)
};

#if defined(FC_VEC_AVX512)
struct LanesMost {
  static constexpr int kCount = 4;
  using V = __m512i;
  /// 16 bytes each from p, p + step, p + 2 step, p + 3 step.
  static FC_INLINE V load(const char* p, int64_t step) {
    V v = _mm512_castsi128_si512(_mm_loadu_si128((const __m128i*)p));
    v = _mm512_maskz_inserti32x4(0xFFFF, v, _mm_loadu_si128((const __m128i*)(p + step)), 1);
    v = _mm512_maskz_inserti32x4(0xFFFF, v, _mm_loadu_si128((const __m128i*)(p + 2 * step)), 2);
    return _mm512_maskz_inserti32x4(0xFFFF, v, _mm_loadu_si128((const __m128i*)(p + 3 * step)), 3);
  }
  static FC_INLINE void store(char* p, V v) { _mm512_storeu_si512(p, v); }
  static FC_INLINE void stream(char* p, V v) { _mm512_stream_si512((V*)p, v); }
  // The zero-masking forms, all lanes on: the plain ones carry an undefined operand that some compilers warn about.
  template <int kBytes>
  static FC_INLINE V low(V a, V b) {
    if constexpr (kBytes == 1) return _mm512_unpacklo_epi8(a, b);
    if constexpr (kBytes == 2) return _mm512_unpacklo_epi16(a, b);
    if constexpr (kBytes == 4) return _mm512_maskz_unpacklo_epi32(0xFFFF, a, b);
    if constexpr (kBytes == 8) return _mm512_maskz_unpacklo_epi64(0xFF, a, b);
  }
  template <int kBytes>
  static FC_INLINE V high(V a, V b) {
    if constexpr (kBytes == 1) return _mm512_unpackhi_epi8(a, b);
    if constexpr (kBytes == 2) return _mm512_unpackhi_epi16(a, b);
    if constexpr (kBytes == 4) return _mm512_maskz_unpackhi_epi32(0xFFFF, a, b);
    if constexpr (kBytes == 8) return _mm512_maskz_unpackhi_epi64(0xFF, a, b);
  }
};
#elif defined(FC_VEC_AVX2)
struct LanesMost {
  static constexpr int kCount = 2;
  using V = __m256i;
  static FC_INLINE V load(const char* p, int64_t step) {
    const V v = _mm256_castsi128_si256(_mm_loadu_si128((const __m128i*)p));
    return _mm256_inserti128_si256(v, _mm_loadu_si128((const __m128i*)(p + step)), 1);
  }
  static FC_INLINE void store(char* p, V v) { _mm256_storeu_si256((V*)p, v); }
  static FC_INLINE void stream(char* p, V v) { _mm256_stream_si256((V*)p, v); }
  FC_INTERLEAVE(_mm256)
};
#else
using LanesMost = Lanes1;
#endif
#undef FC_INTERLEAVE

#endif

/// A tile of L::kCount * N rows and N columns, of which the first `cols` are stored. Steps in bytes.
template <class L, int kBytes, bool kStream>
FC_INLINE void transpose_tile(char* y, const char* x, int64_t y_step, int64_t x_step, int cols) {
  constexpr int N = 16 / kBytes;
  typename L::V a[N], b[N];
#pragma GCC unroll 16
  for (int k = 0; k < N; ++k) a[k] = L::load(x + k * x_step, N * x_step);
#pragma GCC unroll 4
  for (int round = 1; round < N; round *= 2) {
#pragma GCC unroll 16
    for (int i = 0; i < N / 2; ++i) {
      b[2 * i] = L::template low<kBytes>(a[i], a[i + N / 2]);
      b[2 * i + 1] = L::template high<kBytes>(a[i], a[i + N / 2]);
    }
#pragma GCC unroll 16
    for (int k = 0; k < N; ++k) a[k] = b[k];
  }
#pragma GCC unroll 16
  for (int m = 0; m < N; ++m) {
    if (m >= cols) break;
    if constexpr (kStream) {
      L::stream(y + m * y_step, a[m]);
    } else {
      L::store(y + m * y_step, a[m]);
    }
  }
}

/// N columns or, at the right edge, fewer: rows [row, last) by tiles while whole tiles fit; returns the first row left.
/// `room`: elements from x on that may be read, so that a tile may look beyond the last column where more rows follow.
template <class L, int kBytes, bool kStream>
FC_INLINE int64_t transpose_columns(char* y, const char* x, int64_t row, int64_t last, int cols,
                                    int64_t y_step, int64_t x_step, int64_t room) {
  constexpr int N = 16 / kBytes, kRows = L::kCount * N;
  for (; row + kRows <= last; row += kRows) {
    if ((row + kRows - 1) * x_step + N > room) break;
    transpose_tile<L, kBytes, kStream>(y + row * kBytes, x + row * x_step * kBytes, y_step * kBytes,
                                       x_step * kBytes, cols);
  }
  return row;
}

// By blocks of rows: the target is written in runs of some lines, and the source's lines, of which one step takes 16
// bytes, are still in the nearest cache for the next step (rows at a distance of a power of two share few places there).
template <class T, bool kStream>
void transpose_matrix(T* y, const T* x, int64_t rows, int64_t cols, int64_t y_step, int64_t x_step) {
  constexpr int N = 16 / int(sizeof(T));
  constexpr int64_t kBlock = 256 / int64_t(sizeof(T));
  for (int64_t top = 0; top < rows; top += kBlock) {
    const int64_t last = rows - top < kBlock ? rows : top + kBlock;
    for (int64_t j = 0; j < cols; j += N) {
      const int width = cols - j < N ? int(cols - j) : N;
      const int64_t room = (rows - 1) * x_step + cols - j;
      char* to = (char*)(y + j * y_step);
      const char* from = (const char*)(x + j);
      int64_t row = top;
      if (width == N) {
        row = transpose_columns<LanesMost, sizeof(T), kStream>(to, from, row, last, N, y_step, x_step, room);
        row = transpose_columns<Lanes1, sizeof(T), false>(to, from, row, last, N, y_step, x_step, room);
      } else {
        row = transpose_columns<LanesMost, sizeof(T), kStream>(to, from, row, last, width, y_step, x_step,
                                                               room);
      }
      for (; row < last; ++row)
        for (int k = 0; k < width; ++k) y[(j + k) * y_step + row] = x[row * x_step + j + k];
    }
  }
  if (kStream) stream_done();
}

template <class T>
void transpose_elements(void* y, const void* x, int64_t rows, int64_t cols, int64_t y_step, int64_t x_step,
                        bool stream) {
  constexpr int64_t kLine = LanesMost::kCount * 16;
  const bool aligned = (uintptr_t)y % kLine == 0 && y_step * int64_t(sizeof(T)) % kLine == 0;
  if (stream && aligned)
    transpose_matrix<T, true>((T*)y, (const T*)x, rows, cols, y_step, x_step);
  else
    transpose_matrix<T, false>((T*)y, (const T*)x, rows, cols, y_step, x_step);
}

void transpose_run(void* y, const void* x, int64_t rows, int64_t cols, int64_t y_step, int64_t x_step,
                   int bytes, bool stream) {
  if (bytes == 4 && !stream && transpose_few(y, x, rows, cols, y_step, x_step)) return;
  switch (bytes) {
    case 1: return transpose_elements<uint8_t>(y, x, rows, cols, y_step, x_step, stream);
    case 2: return transpose_elements<uint16_t>(y, x, rows, cols, y_step, x_step, stream);
    case 4: return transpose_elements<uint32_t>(y, x, rows, cols, y_step, x_step, stream);
    default: return transpose_elements<uint64_t>(y, x, rows, cols, y_step, x_step, stream);
  }
}

constexpr TransposeKernels kTranspose = {transpose_run};

}  // namespace
}  // namespace fastcnn::cpu::FC_ISA
