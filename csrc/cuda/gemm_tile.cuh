// The main loop of a tiled product in float32, for operands that are computed rather than stored (implicit GEMM).
//
// A block makes kM x kN sums over a range of the depth, kK at a time. While it multiplies one pair of tiles out of shared
// memory, the next pair is on its way from global memory into registers. Each of 256 threads keeps 8 x 4 sums: of twelve
// numbers that it reads from shared memory (three instructions) it makes 32 multiplications.
//
// An operand is a class with
//   kAlongDepth           neighbouring threads fetch neighbours along the depth, else along the tile's other axis
//   set_line(i, line)     once: the i-th line (row of A, column of B) that this thread fetches, or a line past the end
//   set_depth(d)          before each get: where in the depth, or past its end
//   get(i) -> float       the element; 0 outside
// so that what depends on a line alone is computed once, and what depends on the depth once for all lines of a thread.
#pragma once

#include "cuda/vec.cuh"

namespace fastcnn::cuda {

constexpr int kTileM = 128, kTileN = 64, kTileK = 16, kTileThreads = 256;
constexpr int kSumsM = 8, kSumsN = 4;
static_assert(kTileM / kSumsM * (kTileN / kSumsN) == kTileThreads, "one thread for each 8 x 4 sums");

/// Lines of a tile that one thread fetches at one depth (along the depth), or depths of one line.
template <int kLines>
constexpr int kFetches = kLines * kTileK / kTileThreads;

/// What a thread fetches of one operand's tile of kLines lines.
template <class Operand, int kLines>
struct Fetcher {
  static constexpr int kCount = kFetches<kLines>;
  float values[kCount];

  FC_METHOD static int line(int i) {
    const int t = static_cast<int>(threadIdx.x);
    return Operand::kAlongDepth ? t / kTileK + i * (kTileThreads / kTileK) : t % kLines;
  }
  FC_METHOD static int depth(int i) {
    const int t = static_cast<int>(threadIdx.x);
    return Operand::kAlongDepth ? t % kTileK : t / kLines + i * (kTileThreads / kLines);
  }
  FC_METHOD void set_lines(Operand& operand, int first) const {
    FC_UNROLL
    for (int i = 0; i < (Operand::kAlongDepth ? kCount : 1); ++i) operand.set_line(i, first + line(i));
  }
  FC_METHOD void fetch(Operand& operand, int first_depth) {
    FC_UNROLL
    for (int i = 0; i < kCount; ++i) {
      if (i == 0 || !Operand::kAlongDepth) operand.set_depth(first_depth + depth(i));
      values[i] = operand.get(Operand::kAlongDepth ? i : 0);
    }
  }
  FC_METHOD void put(float (&tile)[kTileK][kLines + 4]) const {
    FC_UNROLL
    for (int i = 0; i < kCount; ++i) store(&tile[depth(i)][line(i)], values[i]);
  }
};

/// sums[i][j] = sum over [begin, end) of A(row0 + kSumsM ty + i, d) B(d, column0 + kSumsN tx + j), in the order of d;
/// tx = threadIdx.x % 16, ty = threadIdx.x / 16. Operands give 0 from `end` on.
template <class OperandA, class OperandB>
FC_DEVICE void tiled_product(OperandA& a, OperandB& b, int row0, int column0, int begin, int end,
                             float (&sums)[kSumsM][kSumsN]) {
  FC_SHARED(float, a_tile, [kTileK][kTileM + 4]);
  FC_SHARED(float, b_tile, [kTileK][kTileN + 4]);
  const int tx = static_cast<int>(threadIdx.x) % (kTileN / kSumsN),
            ty = static_cast<int>(threadIdx.x) / (kTileN / kSumsN);
  Fetcher<OperandA, kTileM> from_a;
  Fetcher<OperandB, kTileN> from_b;
  from_a.set_lines(a, row0);
  from_b.set_lines(b, column0);
  from_a.fetch(a, begin);
  from_b.fetch(b, begin);
  for (int d = begin; d < end; d += kTileK) {
    from_a.put(a_tile);
    from_b.put(b_tile);
    __syncthreads();
    if (d + kTileK < end) {
      from_a.fetch(a, d + kTileK);
      from_b.fetch(b, d + kTileK);
    }
    FC_UNROLL
    for (int k = 0; k < kTileK; ++k) {
      using Four = Vec<float, 4>;
      const Four x0 = load(reinterpret_cast<const Four*>(&a_tile[k][ty * kSumsM]));
      const Four x1 = load(reinterpret_cast<const Four*>(&a_tile[k][ty * kSumsM + 4]));
      const Four y = load(reinterpret_cast<const Four*>(&b_tile[k][tx * kSumsN]));
      FC_UNROLL
      for (int i = 0; i < 4; ++i) {
        FC_UNROLL
        for (int j = 0; j < kSumsN; ++j) {
          sums[i][j] += x0.at[i] * y.at[j];
          sums[i + 4][j] += x1.at[i] * y.at[j];
        }
      }
    }
    __syncthreads();
  }
}

}  // namespace fastcnn::cuda
