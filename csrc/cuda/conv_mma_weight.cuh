// backward_weight on tensor cores: a block makes a tile of filters by (tap, channel) over a part of all pixels, and a second
// kernel adds the parts in order (conv_mma.cuh).
#pragma once

#include "cuda/conv_algos.h"
#include "cuda/conv_mma.cuh"

namespace fastcnn::cuda {

/// backward_weight, what a thread copies: one vector of filters and one of (tap, channel) of several pixels.
template <class T, class Tile, int kTile>
struct WeightSource {
  static constexpr int kWhole = kLanes<T>, kVectors = kTile / kWhole, kStep = Tile::kThreads / kVectors;
  const ConvMma<T>& p;
  int group, filter, begin, end;
  Tap tap;

  FC_METHOD WeightSource(const ConvMma<T>& p_, int row0, int column0, int group_, int begin_, int end_)
      : p(p_), group(group_), begin(begin_), end(end_) {
    const int vector = static_cast<int>(threadIdx.x) % kVectors;
    filter = row0 + vector * kWhole;
    tap = tap_of(p, column0 / kWhole + vector, p.depths);
  }
  FC_METHOD void operator()(int step, uint4* a, uint4* b) const {
    const int vector = static_cast<int>(threadIdx.x) % kVectors;
    FC_UNROLL
    for (int i = 0; i < kMmaDepth<T> / kStep; ++i) {
      const int line = static_cast<int>(threadIdx.x) / kVectors + i * kStep,
                d = begin + step * kMmaDepth<T> + line;
      Pixel at = pixel_of(p, d < end ? d : 0);
      if (d >= end) at.n = -1;
      copy_patch(p, b + Tile::B::place(line, vector), at, tap, group);
      const int left = at.n < 0 ? 0 : p.v.filters - filter, k = group * p.v.filters + filter;
      const T* from = left > 0 ? p.v.y.at(at.n, k, at.i[0], at.i[1], at.i[2]) : p.v.y.data;
      copy_vector(p.v, a + Tile::A::place(line, vector), from, p.v.y.stride[1], k,
                  left < 0        ? 0
                  : left < kWhole ? left
                                  : kWhole,
                  p.dense_y);
    }
  }
};

/// partials[split][group][filter][tap][vector]
template <class Kind, int kTile>
FC_KERNEL conv_mma_weight_kernel(ConvMma<typename Kind::Element> p, unsigned column_tiles) {
  using T = typename Kind::Element;
  using Tile = MmaTile<Kind, kTile, kTile, false>;
  FC_SHARED(uint4, memory, [kMmaStages * Tile::kStage]);
  const int row0 = static_cast<int>(blockIdx.y) * kTile;
  const int column0 = static_cast<int>(blockIdx.x % column_tiles) * kTile;
  const int split = static_cast<int>(blockIdx.x / column_tiles), group = static_cast<int>(blockIdx.z);
  const int begin = split * p.per_split,
            end = begin + p.per_split < p.pixels ? begin + p.per_split : p.pixels;
  typename Tile::Sums sums = {};
  Tile::run(memory, (end - begin + kMmaDepth<T> - 1) / kMmaDepth<T>, sums,
            WeightSource<T, Tile, kTile>(p, row0, column0, group, begin, end));
  const int lane = static_cast<int>(threadIdx.x) % 32, columns = p.depths * kLanes<T>;
  float* out = p.partials + (static_cast<int64_t>(split) * gridDim.z + group) * p.v.filters * columns;
  FC_UNROLL
  for (int i = 0; i < Tile::kDown; ++i) {
    FC_UNROLL
    for (int j = 0; j < Tile::kAcross; ++j) {
      const int row = row0 + Tile::warp_row() + 16 * i + lane / 4;
      const int column = column0 + Tile::warp_column() + 8 * j + lane % 4 * 2;
      if (column >= columns) continue;
      FC_UNROLL
      for (int half = 0; half < 2; ++half) {
        if (row + 8 * half >= p.v.filters) continue;
        store(reinterpret_cast<Vec<float, 2>*>(out + static_cast<int64_t>(row + 8 * half) * columns + column),
              Vec<float, 2>{{sums[i][j][2 * half], sums[i][j][2 * half + 1]}});
      }
    }
  }
}

template <class Kind>
void conv_mma_weight(ConvMma<typename Kind::Element> p, const ConvProblem& q, float* partials,
                     cudaStream_t stream) {
  using T = typename Kind::Element;
  const MmaWeight plan = mma_weight(q);
  p.dense_y = is_dense(p.v.y, p.v.filters, q.G);
  p.per_split = ceil_div(ceil_div(p.pixels, plan.splits), kMmaDepth<T>) * kMmaDepth<T>;
  p.partials = partials;
  const auto columns = static_cast<unsigned>(ceil_div(p.depths * kLanes<T>, plan.tile));
  launch(
      kMmaName,
      plan.tile == kMmaBig ? conv_mma_weight_kernel<Kind, kMmaBig> : conv_mma_weight_kernel<Kind, kMmaSmall>,
      {dim3(columns * static_cast<unsigned>(plan.splits),
            static_cast<unsigned>(ceil_div(p.v.filters, plan.tile)), static_cast<unsigned>(q.G)),
       dim3(static_cast<unsigned>(2 * plan.tile)), stream},
      p, columns);
  p.inner = FastDivide(p.vectors * kLanes<T>);
  p.depths *= kLanes<T>;
  conv_add_splits(kMmaName, static_cast<const ConvProduct<T>&>(p), q, plan.splits, stream);
}

}  // namespace fastcnn::cuda
