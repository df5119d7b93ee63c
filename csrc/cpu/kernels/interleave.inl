// Transposition of few rows or columns of 4-byte elements: planes to pixels of up to eight channels, and back. Sixteen
// pixels of R channels are R vectors on both sides, and each vector of the one side takes its elements from pairs of
// vectors of the other, by one permutation of two registers each. AVX-512 only: tiles of 4 x 4 (transpose.inl) leave
// lanes without work here, most of them with three or six channels.
#pragma once

#include "cpu/kernels/vec.h"

namespace fastcnn::cpu::FC_ISA {
namespace {

constexpr int kInterleaveMost = 8;

#if defined(FC_VEC_AVX512)

/// Element l of vector v: at `index` of a pair of sources; `mask` says for which elements it is the pair.
template <int R>
struct InterleaveTable {
  static constexpr int kPairs = (R + 1) / 2;
  alignas(64) int32_t index[R][16];
  uint16_t mask[R][kPairs];
  explicit constexpr InterleaveTable(bool to_pixels) : index{}, mask{} {
    for (int v = 0; v < R; ++v)
      for (int l = 0; l < 16; ++l) {
        const int pixel = to_pixels ? (16 * v + l) / R : l, channel = to_pixels ? (16 * v + l) % R : v;
        const int source = to_pixels ? channel : (pixel * R + channel) / 16;
        const int lane = to_pixels ? pixel : (pixel * R + channel) % 16;
        index[v][l] = lane + 16 * (source % 2);
        mask[v][source / 2] = (uint16_t)(mask[v][source / 2] | 1 << l);
      }
  }
};

template <int R>
FC_INLINE Vec interleave_vector(const InterleaveTable<R>& table, const Vec (&in)[R], int v) {
  const __m512i index = _mm512_load_si512(table.index[v]);
  Vec out = _mm512_permutex2var_ps(in[0], index, in[1]);
#pragma GCC unroll 4
  for (int p = 1; p < InterleaveTable<R>::kPairs; ++p) {
    const Vec second = in[2 * p + 1 < R ? 2 * p + 1 : 2 * p];
    out = vselect(table.mask[v][p], _mm512_permutex2var_ps(in[2 * p], index, second), out);
  }
  return out;
}

/// R planes to pixels.
template <int R>
void interleave(float* y, const float* x, int64_t pixels, int64_t plane) {
  static constexpr InterleaveTable<R> kTable(true);
  for (int64_t i = 0; i < pixels; i += kLanes, y += R * kLanes) {
    const int n = pixels - i < kLanes ? (int)(pixels - i) : kLanes;
    Vec in[R];
#pragma GCC unroll 8
    for (int c = 0; c < R; ++c) in[c] = vload_part(x + c * plane + i, n);
#pragma GCC unroll 8
    for (int v = 0; v < R; ++v) {
      const int left = R * n - v * kLanes;
      const Vec out = interleave_vector<R>(kTable, in, v);
      if (left >= kLanes)
        vstore(y + v * kLanes, out);
      else if (left > 0)
        vstore_part(y + v * kLanes, out, left);
    }
  }
}

/// Pixels to R planes.
template <int R>
void deinterleave(float* y, const float* x, int64_t pixels, int64_t plane) {
  static constexpr InterleaveTable<R> kTable(false);
  for (int64_t i = 0; i < pixels; i += kLanes, x += R * kLanes) {
    const int n = pixels - i < kLanes ? (int)(pixels - i) : kLanes;
    Vec in[R];
#pragma GCC unroll 8
    for (int v = 0; v < R; ++v) {
      const int left = R * n - v * kLanes;
      in[v] = left >= kLanes ? vload(x + v * kLanes) : left > 0 ? vload_part(x + v * kLanes, left) : vzero();
    }
#pragma GCC unroll 8
    for (int c = 0; c < R; ++c) vstore_part(y + c * plane + i, interleave_vector<R>(kTable, in, c), n);
  }
}

template <int R>
bool interleave_either(bool to_pixels, int count, float* y, const float* x, int64_t pixels, int64_t plane) {
  if constexpr (R > 1) {
    if (count != R) return interleave_either<R - 1>(to_pixels, count, y, x, pixels, plane);
    (to_pixels ? interleave<R> : deinterleave<R>)(y, x, pixels, plane);
    return true;
  }
  return false;
}

/// transpose_run's arguments, if this is such a transposition; elements are moved as floats, which keeps their bits.
FC_INLINE bool transpose_few(void* y, const void* x, int64_t rows, int64_t cols, int64_t y_step,
                             int64_t x_step) {
  if (rows <= kInterleaveMost && y_step == rows)
    return interleave_either<kInterleaveMost>(true, (int)rows, (float*)y, (const float*)x, cols, x_step);
  if (cols <= kInterleaveMost && x_step == cols)
    return interleave_either<kInterleaveMost>(false, (int)cols, (float*)y, (const float*)x, rows, y_step);
  return false;
}

#else

FC_INLINE bool transpose_few(void*, const void*, int64_t, int64_t, int64_t, int64_t) { return false; }

#endif

}  // namespace
}  // namespace fastcnn::cpu::FC_ISA
