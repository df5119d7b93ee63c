// Rows added up (interface in reduce.h): sums of a group of columns stay in registers while the rows pass.
#pragma once

#include "cpu/kernels/reduce.h"
#include "cpu/kernels/vec.h"

namespace fastcnn::cpu::FC_ISA {
namespace {

constexpr int kSumVecs = 4;  // chains side by side hide the latency of an addition

/// `NV` vectors of columns, of which the last has `last` lanes (1 .. kLanes).
template <int NV>
FC_INLINE void sum_columns(const float* x, int64_t rows, int64_t stride, int last, float* sum) {
  Vec acc[NV];
#pragma GCC unroll 4
  for (int v = 0; v < NV; ++v) acc[v] = vzero();
  for (int64_t r = 0; r < rows; ++r, x += stride) {
#pragma GCC unroll 4
    for (int v = 0; v < NV - 1; ++v) acc[v] = vadd(acc[v], vload(x + v * kLanes));
    acc[NV - 1] = vadd(acc[NV - 1], vload_part(x + (NV - 1) * kLanes, last));
  }
#pragma GCC unroll 4
  for (int v = 0; v < NV - 1; ++v) vstore(sum + v * kLanes, acc[v]);
  vstore_part(sum + (NV - 1) * kLanes, acc[NV - 1], last);
}

void sum_rows(const float* x, int64_t rows, int64_t stride, int64_t width, float* sum) {
  constexpr int64_t kWide = kSumVecs * kLanes;
  int64_t j = 0;
  for (; j + kWide <= width; j += kWide) sum_columns<kSumVecs>(x + j, rows, stride, kLanes, sum + j);
  if (j + 2 * kLanes <= width) {
    sum_columns<2>(x + j, rows, stride, kLanes, sum + j);
    j += 2 * kLanes;
  }
  for (; j < width; j += kLanes) {
    const int64_t left = width - j;
    sum_columns<1>(x + j, rows, stride, static_cast<int>(left < kLanes ? left : kLanes), sum + j);
  }
}

/// Runs of all lines take turns: a run would wait for the stores of the one before it, which it overlaps.
void add_runs(float* y, int64_t y_line, int64_t y_step, const float* z, int64_t z_line, int64_t z_step,
              int64_t lines, int64_t runs, int64_t width) {
  for (int64_t i = 0; i < runs; ++i)
    for (int64_t l = 0; l < lines; ++l) {
      float* to = y + l * y_line + i * y_step;
      const float* from = z + l * z_line + i * z_step;
      int64_t j = 0;
      for (; j + kLanes <= width; j += kLanes) vstore(to + j, vadd(vload(to + j), vload(from + j)));
      const int left = static_cast<int>(width - j);
      if (left > 0) vstore_part(to + j, vadd(vload_part(to + j, left), vload_part(from + j, left)), left);
    }
}

constexpr ReduceKernels kReduce = {sum_rows, add_runs};

}  // namespace
}  // namespace fastcnn::cpu::FC_ISA
