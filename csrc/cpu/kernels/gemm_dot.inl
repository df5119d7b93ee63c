// The product of few columns (interface in gemm.h): lanes run along the depth, since columns would not fill a vector.
// Accumulators of R rows by N columns live in registers; at the end the lanes of each are added up.
#pragma once

#include "cpu/kernels/gemm.h"
#include "cpu/kernels/pack.inl"
#include "cpu/kernels/vec.h"

namespace fastcnn::cpu::FC_ISA {
namespace {

#if defined(FC_VEC_AVX512) || defined(FC_VEC_NEON)
constexpr int kDotColumns = 6;
constexpr int kDotRows[kDotColumns] = {12, 10, 8, 6, 4, 4};  // by number of columns
#else
constexpr int kDotColumns = 4;
constexpr int kDotRows[kDotColumns] = {6, 4, 3, 2};
#endif

// Rows that follow one another without a gap are read once: what some tiles later will read is on its way, as far as that
// stays in L1.
constexpr int64_t kDotAhead = 32;      // rows
constexpr int64_t kDotAheadRow = 256;  // floats of each, at most

/// The four lanes' sums of four vectors each, quarters first: the order is the same for every vector.
FC_INLINE Quad dot_sums(const float* lanes) {
  Quad q[4];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    q[i] = quad_load(lanes + i * kLanes);
#pragma GCC unroll 4
    for (int first = 4; first < kLanes; first += 4) q[i] += quad_load(lanes + i * kLanes + first);
  }
  float rows[16];
  for (int i = 0; i < 4; ++i) quad_store(rows + 4 * i, q[i]);
  float columns[16];
  transpose_4x4(rows, 4, columns, 4);
  return (quad_load(columns) + quad_load(columns + 4)) + (quad_load(columns + 8) + quad_load(columns + 12));
}

/// One vector of the depth, of which `valid` lanes count.
template <int R, int N, bool WHOLE, bool AHEAD>
FC_INLINE void dot_step(const float* a, int64_t a_row, const float* b, int64_t b_row, int valid,
                        Vec (&acc)[R][N]) {
  Vec bv[N];
#pragma GCC unroll 12
  for (int j = 0; j < N; ++j) bv[j] = WHOLE ? vload(b + j * b_row) : vload_part(b + j * b_row, valid);
#pragma GCC unroll 12
  for (int i = 0; i < R; ++i) {
    if (AHEAD) __builtin_prefetch(a + (kDotAhead + i) * a_row);
    const Vec av = WHOLE ? vload(a + i * a_row) : vload_part(a + i * a_row, valid);
#pragma GCC unroll 12
    for (int j = 0; j < N; ++j) acc[i][j] = vfma(av, bv[j], acc[i][j]);
  }
}

template <int R, int N>
void gemm_dot_tile(const GemmTile* t, int first_row, int first_column) {
  Vec acc[R][N];
#pragma GCC unroll 12
  for (int i = 0; i < R; ++i)
#pragma GCC unroll 12
    for (int j = 0; j < N; ++j) acc[i][j] = vzero();
  const int64_t a_row = t->a_row, b_row = t->b_row, k = t->k;
  const bool ahead = t->segments == 1 && a_row == k && k <= kDotAheadRow;
  const GemmSegment* segment = t->segment;
  for (int s = t->segments; s > 0; --s) {
    const float *a = t->a + first_row * a_row, *b = t->b + first_column * b_row;
    if (segment) a += segment->a, b += segment->b, ++segment;
    int64_t left = k;
    if (ahead)
      for (; left >= kLanes; left -= kLanes, a += kLanes, b += kLanes)
        dot_step<R, N, true, true>(a, a_row, b, b_row, kLanes, acc);
    else
      for (; left >= kLanes; left -= kLanes, a += kLanes, b += kLanes)
        dot_step<R, N, true, false>(a, a_row, b, b_row, kLanes, acc);
    if (left > 0) dot_step<R, N, false, false>(a, a_row, b, b_row, static_cast<int>(left), acc);
  }
  constexpr int kSums = (R * N + 3) / 4 * 4;
  float lanes[kSums * kLanes], sum[kSums];
#pragma GCC unroll 12
  for (int i = 0; i < R; ++i)
#pragma GCC unroll 12
    for (int j = 0; j < N; ++j) vstore(lanes + (i * N + j) * kLanes, acc[i][j]);
#pragma GCC unroll 12
  for (int i = R * N; i < kSums; ++i) vstore(lanes + i * kLanes, vzero());
#pragma GCC unroll 12
  for (int i = 0; i < kSums; i += 4) quad_store(sum + i, dot_sums(lanes + i * kLanes));
  float* c = t->c + first_row * t->c_row + first_column;
#pragma GCC unroll 12
  for (int i = 0; i < R; ++i, c += t->c_row)
#pragma GCC unroll 12
    for (int j = 0; j < N; ++j) c[j] = t->accumulate == 2 ? c[j] + sum[i * N + j] : sum[i * N + j];
}

template <int R, int N>
void gemm_dot_rows(const GemmTile* t, int first_row, int rows, int first_column) {
  if (rows == R) return gemm_dot_tile<R, N>(t, first_row, first_column);
  if constexpr (R > 1) gemm_dot_rows<R - 1, N>(t, first_row, rows, first_column);
}

template <int N>
void gemm_dot_columns(const GemmTile* t, int first_column, int columns) {
  if (columns == N) {
    // Rows are spread evenly, as in gemm.inl.
    constexpr int kRows = kDotRows[N - 1];
    const int tiles = (t->m + kRows - 1) / kRows;
    for (int i = 0, row = 0; i < tiles; ++i) {
      const int rows = (t->m - row + tiles - i - 1) / (tiles - i);
      gemm_dot_rows<kRows, N>(t, row, rows, first_column);
      row += rows;
    }
    return;
  }
  if constexpr (N > 1) gemm_dot_columns<N - 1>(t, first_column, columns);
}

void gemm_dot(const GemmTile* t) {
  if (t->m <= 0) return;
  // Few rows go into one tile with fewer columns, so that B is read once. Columns are spread evenly: 8 are 4 + 4.
  int widest = kDotColumns;
  while (widest > 1 && t->m > kDotRows[widest - 1] && t->m <= kDotRows[0]) --widest;
  const int groups = (t->n + widest - 1) / widest;
  for (int g = 0, first = 0; g < groups; ++g) {
    const int columns = (t->n - first + groups - g - 1) / (groups - g);
    gemm_dot_columns<kDotColumns>(t, first, columns);
    first += columns;
  }
}

}  // namespace
}  // namespace fastcnn::cpu::FC_ISA
