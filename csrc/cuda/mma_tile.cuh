// The main loop of a tiled product on tensor cores: 16-bit operands, float32 sums, one mma.sync loop for every pass.
//
// A block of two rows of warps makes kM x kN sums, 32 of the depth at a time; a warp makes kM/2 x 32 of them. Tiles lie in
// shared memory as octets, 8 neighbours of 16 bits each, and are on their way (cp.async) two steps before they are used.
// Depending on which axis of an operand has its neighbours in memory, a tile is
//   kDeep    lines x 4 octets of the depth     ldmatrix as it is
//   else     32 depths x kLines / 8 octets     ldmatrix transposed
// and octets are permuted by an exclusive or, so that neither the copies nor ldmatrix meet a bank twice.
#pragma once

#include "cuda/ptx.cuh"
#include "cuda/vec.cuh"

namespace fastcnn::cuda {

constexpr int kMmaDepth = 32, kMmaStages = 3, kOctet = 8, kMmaWarpN = 32;

FC_DEVICE void multiply_fragments(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2], __half) {
  ptx::mma_f16(c, a, b);
}
FC_DEVICE void multiply_fragments(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2],
                                  __nv_bfloat16) {
  ptx::mma_bf16(c, a, b);
}

/// A tile of kLines lines by 32 of the depth.
template <int kLines, bool kDeep>
struct MmaOperandTile {
  static constexpr int kOctets = kLines * kMmaDepth / kOctet;
  /// Where octet `octet` of the line (kDeep) or of the depth `at` lies.
  FC_METHOD static int place(int at, int octet) {
    return kDeep ? at * (kMmaDepth / kOctet) + (octet ^ (at >> 1 & 3))
                 : at * (kLines / kOctet) + (octet ^ (at & 7));
  }
  /// The 16 x 16 corner at (line, depth) by one ldmatrix. Its four matrices of 8 x 8 come with lines first, as the A of
  /// mma.sync has them, or with the depth first, as two neighbouring B have them.
  template <bool kLinesFirst>
  FC_METHOD static void load_corner(unsigned (&out)[4], const uint4* tile, int line, int depth) {
    const int lane = static_cast<int>(threadIdx.x) % 32, row = lane % 8;
    const int low = lane / 8 % 2 * 8, high = lane / 16 * 8;
    line += kLinesFirst ? low : high;
    depth += kLinesFirst ? high : low;
    const int octet = kDeep ? place(line + row, depth / kOctet) : place(depth + row, line / kOctet);
    ptx::load_matrices<4, !kDeep>(out, tile + octet);
  }
};

template <class T, int kM, int kN, bool kDeep>
struct MmaTile {
  static constexpr int kWarpsN = kN / kMmaWarpN, kThreads = 2 * 32 * kWarpsN;
  static constexpr int kDown = kM / 2 / 16, kAcross = kMmaWarpN / 8;  // products of 16 x 8 of a warp
  using A = MmaOperandTile<kM, kDeep>;
  using B = MmaOperandTile<kN, kDeep>;
  static constexpr int kStage = A::kOctets + B::kOctets;  // octets
  using Sums = float[kDown][kAcross][4];

  /// Corner of this warp's sums.
  FC_METHOD static int warp_row() { return static_cast<int>(threadIdx.x) / 32 % 2 * (kM / 2); }
  FC_METHOD static int warp_column() { return static_cast<int>(threadIdx.x) / 64 * kMmaWarpN; }

  FC_METHOD static void multiply(const uint4* a, const uint4* b, Sums& sums) {
    FC_UNROLL
    for (int depth = 0; depth < kMmaDepth; depth += 16) {
      unsigned fa[kDown][4], fb[kAcross][2];
      FC_UNROLL
      for (int i = 0; i < kDown; ++i) A::template load_corner<true>(fa[i], a, warp_row() + 16 * i, depth);
      FC_UNROLL
      for (int j = 0; j < kAcross; j += 2) {
        unsigned both[4];
        B::template load_corner<false>(both, b, warp_column() + 8 * j, depth);
        fb[j][0] = both[0], fb[j][1] = both[1];
        fb[j + 1][0] = both[2], fb[j + 1][1] = both[3];
      }
      FC_UNROLL
      for (int i = 0; i < kDown; ++i) {
        FC_UNROLL
        for (int j = 0; j < kAcross; ++j) multiply_fragments(sums[i][j], fa[i], fb[j], T());
      }
    }
  }

  /// sums += A B over `steps` steps of 32; fetch(step, a, b) starts this thread's copies of a step's tiles. `memory`
  /// has kMmaStages * kStage octets, which are free again when it returns.
  template <class Fetch>
  FC_METHOD static void run(uint4* memory, int steps, Sums& sums, Fetch&& fetch) {
    FC_UNROLL
    for (int s = 0; s < kMmaStages - 1; ++s) {
      if (s < steps) fetch(s, memory + s * kStage, memory + s * kStage + A::kOctets);
      ptx::copy_commit();
    }
    int reads = 0, writes = kMmaStages - 1;
    for (int s = 0; s < steps; ++s) {
      ptx::copy_wait<kMmaStages - 2>();
      __syncthreads();
      if (s + kMmaStages - 1 < steps) {
        uint4* to = memory + writes * kStage;
        fetch(s + kMmaStages - 1, to, to + A::kOctets);
      }
      ptx::copy_commit();
      const uint4* from = memory + reads * kStage;
      multiply(from, from + A::kOctets, sums);
      reads = reads + 1 == kMmaStages ? 0 : reads + 1;
      writes = writes + 1 == kMmaStages ? 0 : writes + 1;
    }
    ptx::copy_wait<0>();
    __syncthreads();
  }
};

}  // namespace fastcnn::cuda
