#include "cpu/gemm_stream.h"

#include <algorithm>

#include "cpu/isa.h"
#include "cpu/thread_pool.h"

namespace fastcnn::cpu {
namespace {

constexpr int64_t kDotDepth = 64;    // at least: the lanes of each sum are added up at the end
constexpr int64_t kDotColumns = 24;  // of a task: a multiple of every tile's
constexpr int64_t kDotRows = 96;
constexpr int64_t kDotPiece = 1024;  // floats of a row
constexpr int64_t kFewRows = 16;
constexpr int64_t kMostRows = 32;     // that packing B would not pay for, where its rows are contiguous
constexpr int64_t kRowDepth = 16;     // rows of B that are read side by side
constexpr int64_t kRowColumns = 512;  // of a task: its sums stay in L1, or with many rows in L2
constexpr int64_t kLanes = 16;        // of the widest ISA

int64_t div_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

void add_bias(const Sgemm& s, int64_t i, int64_t rows, int64_t j, int64_t columns) {
  if (!s.bias) return;
  for (int64_t r = i; r < i + rows; ++r)
    for (int64_t c = j; c < j + columns; ++c) s.c[r * s.c_row + c] += s.bias[c];
}

}  // namespace

// Packing an element of B costs as much as some 50 multiply-adds, adding up the lanes of a tile as much as 8 steps of it.
bool sgemm_is_dots(const Sgemm& s) {
  return s.a_col == 1 && s.b_row == 1 && s.k >= kDotDepth && 3 * s.m <= s.k && !s.accumulate;
}

void sgemm_dots(const Sgemm& s, int threads) {
  const int64_t column_blocks = div_up(s.n, kDotColumns), row_blocks = div_up(s.m, kDotRows);
  parallel_for(
      column_blocks * row_blocks,
      [&](int64_t task, int) {
        const int64_t i = task % row_blocks * kDotRows, rows = std::min(kDotRows, s.m - i);
        const int64_t j = task / row_blocks * kDotColumns, columns = std::min(kDotColumns, s.n - j);
        GemmTile t;
        t.a_row = s.a_row;
        t.a_col = 1;
        t.b_row = s.b_col;
        t.c = s.c + i * s.c_row + j;
        t.c_row = s.c_row;
        t.m = static_cast<int>(rows);
        t.n = static_cast<int>(columns);
        t.accumulate = 0;
        // A piece of the depth of a tile's columns stays in L1 while the rows pass over it.
        const int64_t pieces = rows <= kFewRows ? 1 : div_up(s.k, kDotPiece);
        for (int64_t piece = 0; piece < pieces; ++piece) {
          const int64_t first = s.k * piece / pieces;
          t.k = s.k * (piece + 1) / pieces - first;
          t.a = s.a + i * s.a_row + first;
          t.b = s.b + j * s.b_col + first;
          kernels().gemm.dot(&t);
          t.accumulate = 2;
        }
        add_bias(s, i, rows, j, columns);
      },
      threads);
}

bool sgemm_is_few_rows(const Sgemm& s) {
  return s.m <= kMostRows && s.b_col == 1 && s.n >= kRowColumns && s.n % kLanes == 0;
}

void sgemm_few_rows(const Sgemm& s, int threads) {
  parallel_for(
      div_up(s.n, kRowColumns),
      [&](int64_t task, int) {
        const Kernels& isa = kernels();
        const int64_t j = task * kRowColumns, columns = std::min(kRowColumns, s.n - j), nr = isa.gemm.nr;
        GemmTile t;
        t.a_row = s.a_row;
        t.a_col = s.a_col;
        t.b_row = s.b_row;
        t.c_row = s.c_row;
        t.m = static_cast<int>(s.m);
        t.accumulate = s.accumulate;
        int64_t p = 0;
        do {
          t.k = std::min(kRowDepth, s.k - p);
          t.a = s.a + p * s.a_col;
          for (int64_t n = 0; n < columns; n += nr) {
            t.b = s.b + p * s.b_row + j + n;
            t.c = s.c + j + n;
            t.n = static_cast<int>(std::min(nr, columns - n));
            isa.gemm.tile(&t);
          }
          t.accumulate = 1;
          p += t.k;
        } while (p < s.k);
        add_bias(s, 0, s.m, j, columns);
      },
      threads);
}

}  // namespace fastcnn::cpu
