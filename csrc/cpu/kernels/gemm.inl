// The GEMM micro-kernel (interface in gemm.h). The accumulators of a tile of R rows by NV vectors live in
// registers over the whole depth; each step loads NV vectors of B and broadcasts R elements of A.
//
//   ISA      registers  full tile   accumulators   narrow panels (NV vectors: rows)
//   avx512   32 zmm     6 x 64      24             3: 8, 2: 12, 1: 12
//   avx2     16 ymm     6 x 16      12             1: 10
//   baseline 16 xmm     4 x 8        8             1: 8
//   neon     32 q       8 x 8       16             1: 16
// 24 accumulators of 4 cycles latency keep two FMA units busy; a 6 x 4 tile needs 10 loads for 24 FMAs. GCC
// spills when all 32 registers are wanted, so the tiles leave a few free.
#pragma once

#include "cpu/kernels/gemm.h"
#include "cpu/kernels/gemm_dot.inl"
#include "cpu/kernels/vec.h"

namespace fastcnn::cpu::FC_ISA {
namespace {

#if defined(FC_VEC_AVX512)
constexpr int kTileVecs = 4;
constexpr int kTileRows[kTileVecs] = {12, 12, 8, 6};  // by number of vectors
#elif defined(FC_VEC_AVX2)
constexpr int kTileVecs = 2;
constexpr int kTileRows[kTileVecs] = {10, 6};
#elif defined(FC_VEC_SSE)
constexpr int kTileVecs = 2;
constexpr int kTileRows[kTileVecs] = {8, 4};
#else
constexpr int kTileVecs = 2;
constexpr int kTileRows[kTileVecs] = {16, 8};
#endif

/// Calls f(i, row) for R rows of C. One pointer for three rows, hidden from the compiler, which else computes all R of
/// them at the beginning of a tile and keeps them in vector registers: a fifth of the time of a product of depth 9.
template <int R, class F>
FC_INLINE void gemm_each_row(float* c, int64_t c_row, F f) {
#pragma GCC unroll 6
  for (int i = 0; i < R; i += 3) {
    asm("" : "+r"(c));
    f(i, c);
    if (i + 1 < R) f(i + 1, c + c_row);
    if (i + 2 < R) f(i + 2, c + 2 * c_row);
    c += 3 * c_row;
  }
}

/// One register tile: R rows by NV vectors, of which the last has `last` valid lanes (1 .. kLanes).
template <int R, int NV>
void gemm_tile(const GemmTile* t, int first_row, int last) {
  float* const c = t->c + first_row * t->c_row;
  const int64_t c_row = t->c_row;
  Vec acc[R][NV];
  if (t->accumulate == 1) {
    gemm_each_row<R>(
        c, c_row, [&](int i, const float* row) __attribute__((always_inline)) {
#pragma GCC unroll 4
          for (int j = 0; j < NV - 1; ++j) acc[i][j] = vload(row + j * kLanes);
          acc[i][NV - 1] = vload_part(row + (NV - 1) * kLanes, last);
        });
  } else {
    gemm_each_row<R>(
        c, c_row, [&](int i, const float* row) __attribute__((always_inline)) {
#pragma GCC unroll 4
          for (int j = 0; j < NV; ++j) {
            acc[i][j] = vzero();
            // The next tile's: a short depth leaves no time to fetch this one's.
            __builtin_prefetch(row + R * c_row + j * kLanes, 1);
          }
        });
  }

  // One pointer for three rows (base, base + s, base + 2s) keeps the address registers few.
  static_assert(kGemmBlock == 3);
  constexpr int kGroups = (R + 2) / 3;
  const int64_t a_row = t->a_row, a_col = t->a_col, b_row = t->b_row;
  int64_t group[kGroups];
#pragma GCC unroll 16
  for (int g = 0; g < kGroups; ++g) group[g] = (first_row + 3 * g) * a_row;
  if (t->block_rows) {
#pragma GCC unroll 16
    for (int g = 0; g < kGroups; ++g) {
      const int row = first_row + 3 * g, block = row / t->block_rows;
      group[g] = block * t->block_step + (row - block * t->block_rows) * a_row;
    }
  }
  const GemmSegment* segment = t->segment;
  const float* ahead = t->b;
  if (t->prefetch) ahead = t->prefetch + first_row * t->k * t->segments / R * 16;
  for (int s = t->segments; s > 0; --s) {
    const float *a[kGroups], *b = t->b;
    const float* from = t->a;
    if (segment) from += segment->a, b += segment->b, ++segment;
#pragma GCC unroll 16
    for (int g = 0; g < kGroups; ++g) a[g] = from + group[g];
    for (int64_t p = t->k; p > 0; --p) {
      if (NV > 1) __builtin_prefetch(ahead, 0, 2), ahead += 16;  // to L2: L1 is B's
      Vec bv[NV];
#pragma GCC unroll 4
      for (int j = 0; j < NV; ++j) bv[j] = vload(b + j * kLanes);
#pragma GCC unroll 16
      for (int i = 0; i < R; ++i) {
        const Vec av = vset(a[i / 3][(i % 3) * a_row]);
#pragma GCC unroll 4
        for (int j = 0; j < NV; ++j) acc[i][j] = vfma(av, bv[j], acc[i][j]);
      }
#pragma GCC unroll 16
      for (int g = 0; g < kGroups; ++g) a[g] += a_col;
      b += b_row;
    }
  }

  if (t->accumulate == 2) {
    gemm_each_row<R>(
        c, c_row, [&](int i, const float* row) __attribute__((always_inline)) {
#pragma GCC unroll 4
          for (int j = 0; j < NV - 1; ++j) acc[i][j] = vadd(vload(row + j * kLanes), acc[i][j]);
          acc[i][NV - 1] = vadd(vload_part(row + (NV - 1) * kLanes, last), acc[i][NV - 1]);
        });
  }

  gemm_each_row<R>(
      c, c_row, [&](int i, float* row) __attribute__((always_inline)) {
#pragma GCC unroll 4
        for (int j = 0; j < NV - 1; ++j) vstore(row + j * kLanes, acc[i][j]);
        vstore_part(row + (NV - 1) * kLanes, acc[i][NV - 1], last);
      });
}

/// GemmFinish on rows that were just stored and are in L1. Not a part of the tile: its registers are all taken.
template <int NV>
__attribute__((noinline)) void gemm_finish(const GemmTile* t, int first_row, int rows, int last) {
  const GemmFinish f = *t->finish;
  const auto part = [last](const float* p, int j) __attribute__((always_inline)) {
    return j < NV - 1 ? vload(p + j * kLanes) : vload_part(p + j * kLanes, last);
  };
  Vec scale[NV], shift[NV];
#pragma GCC unroll 4
  for (int j = 0; j < NV; ++j) {
    scale[j] = f.scale ? part(f.scale, j) : vset(1.0f);
    shift[j] = f.shift ? part(f.shift, j) : vzero();
  }
  const Vec low = vset(f.low), high = vset(f.high);
  float* c = t->c + first_row * t->c_row;
  const float* residual = f.residual ? f.residual + first_row * f.residual_row : nullptr;
  for (int i = 0; i < rows; ++i, c += t->c_row) {
    Vec y[NV];
#pragma GCC unroll 4
    for (int j = 0; j < NV; ++j) y[j] = vfma(part(c, j), scale[j], shift[j]);
    if (residual) {
#pragma GCC unroll 4
      for (int j = 0; j < NV; ++j) y[j] = vadd(y[j], part(residual, j));
      residual += f.residual_row;
    }
#pragma GCC unroll 4
    for (int j = 0; j < NV - 1; ++j) vstore(c + j * kLanes, vmin(high, vmax(low, y[j])));
    vstore_part(c + (NV - 1) * kLanes, vmin(high, vmax(low, y[NV - 1])), last);
  }
}

/// Calls gemm_tile<rows, NV> for a run-time number of rows in 1 .. R.
template <int R, int NV>
void gemm_rows(const GemmTile* t, int first_row, int rows, int last) {
  if (rows == R) return gemm_tile<R, NV>(t, first_row, last);
  if constexpr (R > 1) gemm_rows<R - 1, NV>(t, first_row, rows, last);
}

template <int NV>
void gemm_panel(const GemmTile* t, int last) {
  // Rows are spread evenly: 8 rows are 4 + 4, not 6 + 2. Those in blocks by threes, which share a pointer.
  constexpr int kRows = kTileRows[NV - 1];
  const int unit = t->block_rows ? kGemmBlock : 1, units = t->m / unit, most = kRows / unit;
  const int tiles = (units + most - 1) / most, least = units / tiles, longer = units % tiles;
  for (int i = 0, row = 0; i < tiles; ++i) {
    const int rows = (least + (i < longer)) * unit;
    gemm_rows<kRows, NV>(t, row, rows, last);
    if (t->finish) gemm_finish<NV>(t, row, rows, last);
    row += rows;
  }
}

template <int NV>
void gemm_vecs(const GemmTile* t, int vecs) {
  if (vecs == NV) return gemm_panel<NV>(t, t->n - (NV - 1) * kLanes);
  if constexpr (NV > 1) gemm_vecs<NV - 1>(t, vecs);
}

void gemm(const GemmTile* t) {
  if (t->m > 0 && t->n > 0) gemm_vecs<kTileVecs>(t, (t->n + kLanes - 1) / kLanes);
}

constexpr GemmKernels kGemm = {kLanes, kTileRows[kTileVecs - 1], kTileVecs* kLanes, gemm, gemm_dot};

}  // namespace
}  // namespace fastcnn::cpu::FC_ISA
