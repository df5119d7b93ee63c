// Packing (interface in pack.h): row copies where rows are contiguous, transposes of squares where columns are, element
// by element otherwise.
#pragma once

#include "cpu/kernels/pack.h"
#include "cpu/kernels/vec.h"

namespace fastcnn::cpu::FC_ISA {
namespace {

typedef float Quad __attribute__((vector_size(16)));

FC_INLINE Quad quad_load(const float* p) {
  Quad q;
  __builtin_memcpy(&q, p, 16);
  return q;
}
FC_INLINE void quad_store(float* p, Quad q) { __builtin_memcpy(p, &q, 16); }

/// to(p)[j] = src[j * col + p], p, j < 4
template <class To>
FC_INLINE void transpose_4x4_to(const float* src, int64_t col, const To& to) {
  const Quad a = quad_load(src), b = quad_load(src + col), c = quad_load(src + 2 * col),
             d = quad_load(src + 3 * col);
  const Quad ab0 = __builtin_shufflevector(a, b, 0, 4, 1, 5), ab1 = __builtin_shufflevector(a, b, 2, 6, 3, 7);
  const Quad cd0 = __builtin_shufflevector(c, d, 0, 4, 1, 5), cd1 = __builtin_shufflevector(c, d, 2, 6, 3, 7);
  quad_store(to(0), __builtin_shufflevector(ab0, cd0, 0, 1, 4, 5));
  quad_store(to(1), __builtin_shufflevector(ab0, cd0, 2, 3, 6, 7));
  quad_store(to(2), __builtin_shufflevector(ab1, cd1, 0, 1, 4, 5));
  quad_store(to(3), __builtin_shufflevector(ab1, cd1, 2, 3, 6, 7));
}
/// dst[p * dst_row + j] = src[j * col + p], p, j < 4
FC_INLINE void transpose_4x4(const float* src, int64_t col, float* dst, int64_t dst_row) {
  transpose_4x4_to(src, col, [&](int p) { return dst + p * dst_row; });
}

/// Squares of 16 read whole lines, so that it does not matter that columns often fall on few sets of the L1 cache.
/// to(p)[j] = src[j * col + p], p, j < kSquare
#if defined(FC_VEC_AVX512)
constexpr int kSquare = 16;
template <class To>
FC_INLINE void transpose_square(const float* src, int64_t col, const To& to) {
  Vec a[16], b[16];
#pragma GCC unroll 16
  for (int j = 0; j < 16; ++j) a[j] = vload(src + j * col);
#pragma GCC unroll 8
  for (int j = 0; j < 16; j += 2) {
    b[j] = _mm512_maskz_unpacklo_ps(0xffff, a[j], a[j + 1]);
    b[j + 1] = _mm512_maskz_unpackhi_ps(0xffff, a[j], a[j + 1]);
  }
  const auto low = [](Vec x, Vec y) __attribute__((always_inline)) {
    return _mm512_castpd_ps(_mm512_maskz_unpacklo_pd(0xff, _mm512_castps_pd(x), _mm512_castps_pd(y)));
  };
  const auto high = [](Vec x, Vec y) __attribute__((always_inline)) {
    return _mm512_castpd_ps(_mm512_maskz_unpackhi_pd(0xff, _mm512_castps_pd(x), _mm512_castps_pd(y)));
  };
#pragma GCC unroll 4
  for (int j = 0; j < 16; j += 4) {  // a[j + m]: elements 4 i + m of columns j .. j + 3 in quarter i
    a[j] = low(b[j], b[j + 2]), a[j + 1] = high(b[j], b[j + 2]);
    a[j + 2] = low(b[j + 1], b[j + 3]), a[j + 3] = high(b[j + 1], b[j + 3]);
  }
#pragma GCC unroll 4
  for (int m = 0; m < 4; ++m) {  // even and odd quarters of the columns' first and second half
    const Vec even0 = _mm512_maskz_shuffle_f32x4(0xffff, a[m], a[4 + m], 0x88);
    const Vec odd0 = _mm512_maskz_shuffle_f32x4(0xffff, a[m], a[4 + m], 0xdd);
    const Vec even1 = _mm512_maskz_shuffle_f32x4(0xffff, a[8 + m], a[12 + m], 0x88);
    const Vec odd1 = _mm512_maskz_shuffle_f32x4(0xffff, a[8 + m], a[12 + m], 0xdd);
    vstore(to(m), _mm512_maskz_shuffle_f32x4(0xffff, even0, even1, 0x88));
    vstore(to(4 + m), _mm512_maskz_shuffle_f32x4(0xffff, odd0, odd1, 0x88));
    vstore(to(8 + m), _mm512_maskz_shuffle_f32x4(0xffff, even0, even1, 0xdd));
    vstore(to(12 + m), _mm512_maskz_shuffle_f32x4(0xffff, odd0, odd1, 0xdd));
  }
}
#else
constexpr int kSquare = 4;
template <class To>
FC_INLINE void transpose_square(const float* src, int64_t col, const To& to) {
  transpose_4x4_to(src, col, to);
}
#endif

FC_INLINE void copy_floats(const float* src, float* dst, int64_t n) {
  int64_t j = 0;
  for (; j + kLanes <= n; j += kLanes) vstore(dst + j, vload(src + j));
  if (j < n) vstore_part(dst + j, vload_part(src + j, static_cast<int>(n - j)), static_cast<int>(n - j));
}

void pack_matrix(const float* src, int64_t row, int64_t col, int64_t k, int64_t n, float* dst,
                 int64_t dst_row, int64_t dst_cols) {
  if (col == 1 || n == 1) {
    for (int64_t p = 0; p < k; ++p) copy_floats(src + p * row, dst + p * dst_row, n);
  } else if (row == 1) {
    const int64_t squares = n / kSquare * kSquare;  // rows of dst are written from end to end
    for (int64_t p = 0; p < k; p += kSquare) {
      const int64_t height = k - p < kSquare ? k - p : kSquare;
      float* to = dst + p * dst_row;
      int64_t j = 0;
      for (; height == kSquare && j < squares; j += kSquare)
        transpose_square(src + j * col + p, col, [&](int i) { return to + i * dst_row + j; });
      for (; j < n; ++j)
        for (int64_t i = 0; i < height; ++i) to[i * dst_row + j] = src[j * col + p + i];
    }
  } else {
    for (int64_t p = 0; p < k; ++p)
      for (int64_t j = 0; j < n; ++j) dst[p * dst_row + j] = src[p * row + j * col];
  }
  if (n < dst_cols)
    for (int64_t p = 0; p < k; ++p)
      for (int64_t j = n; j < dst_cols; ++j) dst[p * dst_row + j] = 0.0f;
}

/// Columns begin .. end-1; those past n become zero.
void pack_filter_columns(const float* src, int64_t filter, int64_t n, int64_t taps, int64_t channels,
                         int64_t first, int64_t last, float* dst, int64_t nr, int64_t begin, int64_t end) {
  int64_t c = first, tap = 0;  // of element q of the run of channels and taps
  const auto row_of_next = [&] {
    float* row = dst + (tap * channels + c) * nr;
    if (++tap == taps) tap = 0, ++c;
    return row;
  };
  const int64_t stop = n < end ? n : end, elements = last * taps;
  for (int64_t q = first * taps; q < elements; q += kSquare) {
    if (elements - q < kSquare &&
        elements - first * taps >= kSquare) {  // the last once more, rather than one by one
      q = elements - kSquare;
      c = q / taps, tap = q % taps;
    }
    const int64_t count = elements - q < kSquare ? elements - q : kSquare;
    float* row[kSquare];
    for (int64_t i = 0; i < count; ++i) row[i] = row_of_next();
    int64_t j = begin;
    if (count == kSquare)
      for (; j + kSquare <= stop; j += kSquare)
        transpose_square(src + j * filter + q, filter, [&](int i) { return row[i] + j; });
    for (; j < stop; ++j)
      for (int64_t i = 0; i < count; ++i) row[i][j] = src[j * filter + q + i];
    for (; j < end; ++j)
      for (int64_t i = 0; i < count; ++i) row[i][j] = 0.0f;
  }
}

/// 16 filters at a time: filters lie far apart, often at distances that fall on few sets of the L1 cache.
void pack_filter(const float* src, int64_t filter, int64_t n, int64_t taps, int64_t channels, int64_t first,
                 int64_t last, float* dst, int64_t nr) {
  for (int64_t j = 0; j < nr; j += 16)
    pack_filter_columns(src, filter, n, taps, channels, first, last, dst, nr, j, j + 16 < nr ? j + 16 : nr);
}

constexpr PackKernels kPack = {pack_matrix, pack_filter};

}  // namespace
}  // namespace fastcnn::cpu::FC_ISA
