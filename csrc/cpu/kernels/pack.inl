// Packing (interface in pack.h): row copies where rows are contiguous, 4 x 4 transposes where columns are,
// element by element otherwise.
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

/// dst[p * dst_row + j] = src[j * col + p], p, j < 4
FC_INLINE void transpose_4x4(const float* src, int64_t col, float* dst, int64_t dst_row) {
  const Quad a = quad_load(src), b = quad_load(src + col), c = quad_load(src + 2 * col),
             d = quad_load(src + 3 * col);
  const Quad ab0 = __builtin_shufflevector(a, b, 0, 4, 1, 5), ab1 = __builtin_shufflevector(a, b, 2, 6, 3, 7);
  const Quad cd0 = __builtin_shufflevector(c, d, 0, 4, 1, 5), cd1 = __builtin_shufflevector(c, d, 2, 6, 3, 7);
  quad_store(dst, __builtin_shufflevector(ab0, cd0, 0, 1, 4, 5));
  quad_store(dst + dst_row, __builtin_shufflevector(ab0, cd0, 2, 3, 6, 7));
  quad_store(dst + 2 * dst_row, __builtin_shufflevector(ab1, cd1, 0, 1, 4, 5));
  quad_store(dst + 3 * dst_row, __builtin_shufflevector(ab1, cd1, 2, 3, 6, 7));
}

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
    int64_t p = 0;
    for (; p + 4 <= k; p += 4) {
      int64_t j = 0;
      for (; j + 4 <= n; j += 4) transpose_4x4(src + j * col + p, col, dst + p * dst_row + j, dst_row);
      for (; j < n; ++j)
        for (int64_t i = 0; i < 4; ++i) dst[(p + i) * dst_row + j] = src[j * col + p + i];
    }
    for (; p < k; ++p)
      for (int64_t j = 0; j < n; ++j) dst[p * dst_row + j] = src[j * col + p];
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
  for (int64_t q = first * taps; q < elements; q += 4) {
    if (elements - q < 4 && q > first * taps) {  // the last four once more, rather than one by one
      q = elements - 4;
      c = q / taps, tap = q % taps;
    }
    const int64_t count = elements - q < 4 ? elements - q : 4;
    float* row[4];
    for (int64_t i = 0; i < count; ++i) row[i] = row_of_next();
    int64_t j = begin;
    if (count == 4)
      for (; j + 4 <= stop; j += 4) {
        float block[16];
        transpose_4x4(src + j * filter + q, filter, block, 4);
        for (int i = 0; i < 4; ++i) quad_store(row[i] + j, quad_load(block + 4 * i));
      }
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
