// Blocking. B is packed once into panels of nr columns, [panel][k][nr], by all threads. Then each task owns a
// block of C (kBlockRows rows by a few panels) and walks the depth in steps of kBlockDepth: a piece of a
// panel (64 KiB at nr = 64) stays in L2 while the rows of the block pass over it. A is read in place where
// its rows are contiguous, and copied block by block into the task's scratch where they are not.
#include "cpu/sgemm.h"

#include <algorithm>

#include "cpu/isa.h"
#include "cpu/thread_pool.h"

namespace fastcnn::cpu {
namespace {

constexpr int64_t kBlockRows = 96;  // a multiple of every tile's rows: 6, 8, 12
constexpr int64_t kBlockDepth = 256;
constexpr int64_t kMaxPanelWidth = 64;  // of every ISA; the size of the workspace must not depend on the ISA
constexpr int64_t kMinPanelWidth = 16;  // of a lone panel; a multiple of every ISA's lanes
constexpr int64_t kMinTasks = 32;       // enough for any number of threads worth having at these sizes

int64_t div_up(int64_t a, int64_t b) { return (a + b - 1) / b; }
// A lone narrow panel has narrow rows, so that a product with a vector does not pack 64 columns.
int64_t packed_columns(int64_t n) {
  const int64_t unit = n < kMaxPanelWidth ? kMinPanelWidth : kMaxPanelWidth;
  return div_up(n, unit) * unit;
}
int64_t packed_b_floats(int64_t n, int64_t k) { return packed_columns(n) * k; }

}  // namespace

size_t sgemm_workspace_bytes(int64_t m, int64_t n, int64_t k, int threads) {
  if (m <= 0 || n <= 0) return 0;
  return sizeof(float) * (packed_b_floats(n, k) + threads * kBlockRows * std::min(k, kBlockDepth));
}

void sgemm(const Sgemm& s, void* workspace, int threads) {
  if (s.m <= 0 || s.n <= 0) return;
  const Kernels& isa = kernels();
  const int64_t nr = std::min<int64_t>(isa.gemm.nr, packed_columns(s.n)), panels = div_up(s.n, nr);
  float* packed_b = static_cast<float*>(workspace);
  float* a_blocks = packed_b + packed_b_floats(s.n, s.k);

  const int64_t depth_blocks = div_up(s.k, kBlockDepth);
  parallel_for(
      panels * depth_blocks,
      [&](int64_t task, int) {
        const int64_t panel = task / depth_blocks, p = task % depth_blocks * kBlockDepth, j = panel * nr;
        isa.pack.matrix(s.b + p * s.b_row + j * s.b_col, s.b_row, s.b_col, std::min(kBlockDepth, s.k - p),
                        std::min(nr, s.n - j), packed_b + panel * nr * s.k + p * nr, nr, nr);
      },
      threads);

  // Rows first; panels are dealt out only where the rows do not make enough tasks.
  const int64_t row_blocks = div_up(s.m, kBlockRows);
  const int64_t panel_groups = std::min(panels, div_up(kMinTasks, row_blocks));
  const bool pack_a = s.a_col != 1 && s.m > 1;
  parallel_for(
      row_blocks * panel_groups,
      [&](int64_t task, int slot) {
        const int64_t i = task / panel_groups * kBlockRows, rows = std::min(kBlockRows, s.m - i);
        const int64_t group = task % panel_groups;
        const int64_t first = panels * group / panel_groups, last = panels * (group + 1) / panel_groups;
        int64_t p = 0;
        do {
          const int64_t depth = std::min(kBlockDepth, s.k - p);
          GemmTile t;
          t.a = s.a + i * s.a_row + p * s.a_col;
          t.a_row = s.a_row;
          t.a_col = s.a_col;
          if (pack_a) {
            float* block = a_blocks + slot * kBlockRows * std::min(s.k, kBlockDepth);
            isa.pack.matrix(t.a, s.a_row, s.a_col, rows, depth, block, depth, depth);
            t.a = block;
            t.a_row = depth;
            t.a_col = 1;
          }
          t.b_row = nr;
          t.c_row = s.c_row;
          t.k = depth;
          t.m = static_cast<int>(rows);
          t.accumulate = s.accumulate || p > 0;
          for (int64_t panel = first; panel < last; ++panel) {
            t.b = packed_b + panel * nr * s.k + p * nr;
            t.c = s.c + i * s.c_row + panel * nr;
            t.n = static_cast<int>(std::min(nr, s.n - panel * nr));
            isa.gemm.tile(&t);
          }
          p += depth;
        } while (p < s.k);
        if (!s.bias) return;
        const int64_t begin = first * nr, end = std::min(last * nr, s.n);
        for (int64_t r = i; r < i + rows; ++r)
          for (int64_t j = begin; j < end; ++j) s.c[r * s.c_row + j] += s.bias[j];
      },
      threads);
}

}  // namespace fastcnn::cpu
