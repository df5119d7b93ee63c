// The main loop of a tiled product on tensor cores: one mma.sync loop for every pass and kind of operands (mma_kind.cuh).
//
// A block of two rows of warps makes kM x kN sums, a step of 64 bytes of the depth at a time; a warp makes kM/2 x 32 of
// them. Tiles lie in shared memory as vectors of 16 bytes, 8 neighbours of 16 bits or 4 of 32, and are on their way
// (cp.async) two steps before they are used. Depending on which axis of an operand has its neighbours in memory, a tile is
//   kDeep    lines x 4 vectors of the depth     ldmatrix as it is
//   else     depths x vectors of lines          ldmatrix transposed; words of 32 bits one by one
// and vectors are permuted by an exclusive or, so that neither the copies nor the loads meet a bank twice.
#pragma once

#include "cuda/mma_kind.cuh"
#include "cuda/ptx.cuh"
#include "cuda/vec.cuh"

namespace fastcnn::cuda {

constexpr int kMmaVectors = 4, kMmaStages = 3, kMmaWarpN = 32;
/// Elements of the depth in a step.
template <class T>
constexpr int kMmaDepth = kMmaVectors * kLanes<T>;

/// A tile of kLines lines by a step of the depth.
template <class T, int kLines, bool kDeep>
struct MmaOperandTile {
  static constexpr int kLane = kLanes<T>, kVectors = kLines * kMmaVectors;
  /// Where vector `vector` of the line (kDeep) or of the depth `at` lies.
  FC_METHOD static int place(int at, int vector) {
    if constexpr (kDeep) return at * kMmaVectors + (vector ^ (at >> 1 & 3));
    return at * (kLines / kLane) + (vector ^ (sizeof(T) == 2 ? at & 7 : 2 * (at & 3)));
  }
  /// The corner of 16 lines by two vectors of the depth at (line, depth), as four matrices of 8 x 16 bytes. They come with
  /// lines first, as the A of mma.sync has them, or with the depth first, as two neighbouring B have them.
  template <bool kLinesFirst>
  FC_METHOD static void load_corner(unsigned (&out)[4], const uint4* tile, int line, int depth) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    if constexpr (kDeep || sizeof(T) == 2) {
      const int row = lane % 8, low = lane / 8 % 2, high = lane / 16;
      line += 8 * (kLinesFirst ? low : high);
      depth += kLane * (kLinesFirst ? high : low);
      const int vector = kDeep ? place(line + row, depth / kLane) : place(depth + row, line / kLane);
      ptx::load_matrices<4, !kDeep>(out, tile + vector);
    } else {  // ldmatrix transposes pairs of 16 bits only
      FC_UNROLL
      for (int m = 0; m < 4; ++m) {
        const int l = line + lane / 4 + 8 * (kLinesFirst ? m % 2 : m / 2);
        const int d = depth + lane % 4 + kLane * (kLinesFirst ? m / 2 : m % 2);
        out[m] = load(reinterpret_cast<const unsigned*>(tile + place(d, l / kLane)) + l % kLane);
      }
    }
  }
};

template <class Kind, int kM, int kN, bool kDeep>
struct MmaTile {
  using T = typename Kind::Element;
  static constexpr int kWarpsN = kN / kMmaWarpN, kThreads = 2 * 32 * kWarpsN;
  static constexpr int kDown = kM / 2 / 16, kAcross = kMmaWarpN / 8;  // products of 16 x 8 of a warp
  static constexpr int kCorners = kMmaVectors / 2, kParts = Kind::kParts;
  using A = MmaOperandTile<T, kM, kDeep>;
  using B = MmaOperandTile<T, kN, kDeep>;
  static constexpr int kStage = A::kVectors + B::kVectors;
  using Row = float[kAcross][4];
  using Sums = Row[kDown];
  using RowOfA = unsigned[kCorners][kParts][4];
  using AllOfB = unsigned[kCorners][kAcross][kParts][2];

  /// Corner of this warp's sums.
  FC_METHOD static int warp_row() { return static_cast<int>(threadIdx.x) / 32 % 2 * (kM / 2); }
  FC_METHOD static int warp_column() { return static_cast<int>(threadIdx.x) / 64 * kMmaWarpN; }

  /// row += A B over a step. Where operands have two parts: small times big, big times small, then big times big.
  FC_METHOD static void multiply_row(const RowOfA& a, const AllOfB& b, Row& row) {
    FC_UNROLL
    for (int corner = 0; corner < kCorners; ++corner) {
      FC_UNROLL
      for (int product = kParts == 1 ? 2 : 0; product < 3; ++product) {
        FC_UNROLL
        for (int j = 0; j < kAcross; ++j)
          Kind::multiply(row[j], a[corner][product == 0], b[corner][j][product == 1]);
      }
    }
  }

  FC_METHOD static void multiply(const uint4* a, const uint4* b, Sums& sums) {
    AllOfB all;
    FC_UNROLL
    for (int corner = 0; corner < kCorners; ++corner) {
      FC_UNROLL
      for (int j = 0; j < kAcross; j += 2) {
        unsigned words[4], parts[kParts][4];
        B::template load_corner<false>(words, b, warp_column() + 8 * j, corner * 2 * kLanes<T>);
        Kind::split(words, parts);
        FC_UNROLL
        for (int part = 0; part < kParts; ++part) {
          FC_UNROLL
          for (int i = 0; i < 4; ++i) all[corner][j + i / 2][part][i % 2] = parts[part][i];
        }
      }
    }
    FC_UNROLL
    for (int i = 0; i < kDown; ++i) {
      RowOfA row;
      FC_UNROLL
      for (int corner = 0; corner < kCorners; ++corner) {
        unsigned words[4];
        A::template load_corner<true>(words, a, warp_row() + 16 * i, corner * 2 * kLanes<T>);
        Kind::split(words, row[corner]);
      }
      if constexpr (kParts == 1) {
        multiply_row(row, all, sums[i]);
      } else {
        Row fresh = {};
        multiply_row(row, all, fresh);
        FC_UNROLL
        for (int j = 0; j < kAcross; ++j) {
          FC_UNROLL
          for (int k = 0; k < 4; ++k) sums[i][j][k] += fresh[j][k];
        }
      }
    }
  }

  /// sums += A B over `steps` steps; fetch(step, a, b) starts this thread's copies of a step's tiles. `memory` has
  /// kMmaStages * kStage vectors, which are free again when it returns.
  template <class Fetch>
  FC_METHOD static void run(uint4* memory, int steps, Sums& sums, Fetch&& fetch) {
    if constexpr (!ptx::kSm80 && Kind::kNeedsSm80) {
      __trap();  // never chosen for such a card
    } else {
      FC_UNROLL
      for (int s = 0; s < kMmaStages - 1; ++s) {
        if (s < steps) fetch(s, memory + s * kStage, memory + s * kStage + A::kVectors);
        ptx::copy_commit();
      }
      int reads = 0, writes = kMmaStages - 1;
      for (int s = 0; s < steps; ++s) {
        ptx::copy_wait<kMmaStages - 2>();
        __syncthreads();
        if (s + kMmaStages - 1 < steps) {
          uint4* to = memory + writes * kStage;
          fetch(s + kMmaStages - 1, to, to + A::kVectors);
        }
        ptx::copy_commit();
        const uint4* from = memory + reads * kStage;
        multiply(from, from + A::kVectors, sums);
        reads = reads + 1 == kMmaStages ? 0 : reads + 1;
        writes = writes + 1 == kMmaStages ? 0 : writes + 1;
      }
      ptx::copy_wait<0>();
      __syncthreads();
    }
  }
};

}  // namespace fastcnn::cuda
