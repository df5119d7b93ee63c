// forward and backward_input on tensor cores: a block makes a tile of pixels by filters, or channels (conv_mma.cuh).
#pragma once

#include "cuda/conv_algos.h"
#include "cuda/conv_mma.cuh"

namespace fastcnn::cuda {

/// What a thread copies of A and B: the same vector of a step, of several lines.
template <class T, class Tile, int kM, int kN>
struct ProductSource {
  static constexpr int kStep = Tile::kThreads / kMmaVectors, kA = kM / kStep, kB = kN / kStep;
  const ConvMma<T>& p;
  int group, column0;
  Pixel at[kA];

  FC_METHOD ProductSource(const ConvMma<T>& p_, int row0, int column0_, int group_)
      : p(p_), group(group_), column0(column0_) {
    FC_UNROLL
    for (int i = 0; i < kA; ++i) {
      const int row = row0 + static_cast<int>(threadIdx.x) / kMmaVectors + i * kStep;
      at[i] = pixel_of(p, row < p.pixels ? row : 0);
      if (row >= p.pixels) at[i].n = -1;
    }
  }
  FC_METHOD void operator()(int step, uint4* a, uint4* b) const {
    const int line = static_cast<int>(threadIdx.x) / kMmaVectors;
    const int vector = static_cast<int>(threadIdx.x) % kMmaVectors;
    const Tap tap = tap_of(p, step * kMmaVectors + vector, p.depths);
    FC_UNROLL
    for (int i = 0; i < kA; ++i) {
      copy_patch(p, a + Tile::A::place(line + i * kStep, vector), at[i], tap, group);
    }
    int filter_tap = 0;
    FC_UNROLL
    for (int axis = 0; axis < 3; ++axis)
      filter_tap = filter_tap * p.filter_extent[axis] + p.reach[axis].tap_first +
                   tap.t[axis] * p.reach[axis].tap_stride;
    FC_UNROLL
    for (int i = 0; i < kB; ++i) {
      const int column = column0 + line + i * kStep;
      const bool inside = tap.inside && column < p.v.filters;
      const int64_t at_tap =
          (static_cast<int64_t>(group) * p.v.filters + column) * p.filter_taps + filter_tap;
      const T* from = inside ? p.packed + (at_tap * p.vectors + tap.inner) * kLanes<T> : p.packed;
      ptx::copy_async<16>(b + Tile::B::place(line + i * kStep, vector), from, inside ? 16 : 0);
    }
  }
};

template <class Kind, int kM, int kN>
FC_KERNEL conv_mma_kernel(ConvMma<typename Kind::Element> p) {
  using Tile = MmaTile<Kind, kM, kN, true>;
  using Fetch = ProductSource<typename Kind::Element, Tile, kM, kN>;
  FC_SHARED(uint4, memory, [kMmaStages * Tile::kStage]);
  const int row0 = static_cast<int>(blockIdx.x) * kM, column0 = static_cast<int>(blockIdx.y) * kN;
  const int group = static_cast<int>(blockIdx.z);
  typename Tile::Sums sums = {};
  Tile::run(memory, (p.depths + kMmaVectors - 1) / kMmaVectors, sums, Fetch(p, row0, column0, group));

  // By way of shared memory, 16 rows of a warp at a time: then neighbouring threads have neighbouring channels. A pitch of
  // 40 puts the pairs of four rows into different banks.
  constexpr int kPitch = 40;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  float* lines = reinterpret_cast<float*>(memory) + static_cast<int>(threadIdx.x) / 32 * 16 * kPitch;
  const int column = column0 + Tile::warp_column() + lane;
  FC_UNROLL
  for (int i = 0; i < Tile::kDown; ++i) {
    FC_UNROLL
    for (int j = 0; j < Tile::kAcross; ++j) {
      float* to = lines + lane / 4 * kPitch + 8 * j + lane % 4 * 2;
      store(reinterpret_cast<Vec<float, 2>*>(to), Vec<float, 2>{{sums[i][j][0], sums[i][j][1]}});
      store(reinterpret_cast<Vec<float, 2>*>(to + 8 * kPitch), Vec<float, 2>{{sums[i][j][2], sums[i][j][3]}});
    }
    __syncwarp();
    for (int r = 0; r < 16; ++r) {
      const int row = row0 + Tile::warp_row() + 16 * i + r;
      if (row >= p.pixels) break;
      if (column >= p.v.filters) continue;
      const Pixel at = pixel_of(p, row);
      int cell[3];
      FC_UNROLL
      for (int axis = 0; axis < 3; ++axis)
        cell[axis] = p.reach[axis].to_first + at.i[axis] * p.reach[axis].to_stride;
      p.v.finish(at.n, group * p.v.filters + column, cell, load(lines + r * kPitch + lane));
    }
    __syncwarp();
  }
}

/// packed[group][line][tap][inner, filled up]: a line is a filter, or a channel if `turned`.
template <class T>
FC_KERNEL mma_pack_kernel(ConvMma<T> p, T* packed, unsigned count, FastDivide inner, FastDivide line,
                          FastDivide tap_r, FastDivide tap_s, FastDivide tap_t, bool turned) {
  const unsigned index = blockIdx.x * kElementThreads + threadIdx.x;
  if (index >= count) return;
  unsigned rest = index;
  const int i = static_cast<int>(inner.split(rest)), s = static_cast<int>(tap_s.split(rest));
  const int r = static_cast<int>(tap_r.split(rest)), t = static_cast<int>(tap_t.split(rest));
  const int l = static_cast<int>(line.split(rest)), group = static_cast<int>(rest);
  T value = Narrow<T>::of(0.0f);
  if (i < p.v.channels)
    value = load(
        p.v.w.at(group * (turned ? p.v.channels : p.v.filters) + (turned ? i : l), turned ? l : i, t, r, s));
  store(packed + index, value);
}

template <class Kind>
void launch_mma(const ConvMma<typename Kind::Element>& p, int64_t groups, cudaStream_t stream) {
  // The bits of a sum do not depend on the tile: large ones where they make a block for each multiprocessor.
  const int64_t big = ceil_div<int64_t>(p.pixels, kMmaBig) * ceil_div<int64_t>(p.v.filters, kMmaBig) * groups;
  const bool large = p.v.filters > kMmaSmall && big >= 128;
  const int tile = large ? kMmaBig : kMmaSmall;
  launch(kMmaName,
         large ? conv_mma_kernel<Kind, kMmaBig, kMmaBig> : conv_mma_kernel<Kind, kMmaSmall, kMmaSmall>,
         {dim3(static_cast<unsigned>(ceil_div(p.pixels, tile)),
               static_cast<unsigned>(ceil_div(p.v.filters, tile)), static_cast<unsigned>(groups)),
          dim3(static_cast<unsigned>(2 * tile)), stream},
         p);
}

}  // namespace fastcnn::cuda
