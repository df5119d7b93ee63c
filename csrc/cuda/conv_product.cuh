// A convolution as products of matrices of float32 sums: how pixels and taps are counted, operands that both im2col and
// implicit GEMM read in place, and the sums of the parts of a long depth. What the rows, columns and depth of each pass
// are: conv_implicit_gemm.cu.
#pragma once

#include "cuda/conv_filters.cuh"
#include "cuda/conv_view.cuh"
#include "cuda/dispatch.cuh"
#include "cuda/gemm_tile.cuh"
#include "cuda/launch.cuh"
#include "cuda/walk.cuh"

namespace fastcnn::cuda {

constexpr int kElementThreads = 256;  ///< of a block whose threads take an element each

template <class T>
struct ConvProduct {
  ConvView<T> v;
  // Flat numbers of pixels, taps and channels, taken apart without dividing. `pixel` is of the output in forward and
  // backward_weight, of the input in backward_input.
  FastDivide width, height, depth, inner, tap_r, tap_s;
  int pixels, depths, per_split;  // rows of A; extent of the depth; depth of a block
  float* partials;                // of backward_weight
};

struct Pixel {
  int n, i[3];
};
template <class T>
FC_DEVICE Pixel pixel_of(const ConvProduct<T>& p, int flat) {
  unsigned rest = static_cast<unsigned>(flat);
  Pixel at;
  at.i[2] = static_cast<int>(p.width.split(rest));
  at.i[1] = static_cast<int>(p.height.split(rest));
  at.i[0] = static_cast<int>(p.depth.split(rest));
  at.n = static_cast<int>(rest);
  return at;
}

/// Where in the depth (tap, inner): inner is a channel or a filter.
struct Tap {
  int t[3], inner;
  bool inside;
};
template <class T>
FC_DEVICE Tap tap_of(const ConvProduct<T>& p, int flat, int end) {
  Tap tap;
  tap.inside = flat < end;
  unsigned rest = static_cast<unsigned>(flat);
  tap.inner = static_cast<int>(p.inner.split(rest));
  tap.t[2] = static_cast<int>(p.tap_s.split(rest));
  tap.t[1] = static_cast<int>(p.tap_r.split(rest));
  tap.t[0] = static_cast<int>(rest);
  return tap;
}

/// dy for backward_weight: line = filter, depth = output pixel up to `end`.
template <class T>
struct Slopes {
  static constexpr bool kAlongDepth = false;
  const ConvProduct<T>& p;
  int group, end, filter;
  Pixel at;

  FC_METHOD void set_line(int, int line) { filter = line; }
  FC_METHOD void set_depth(int d) {
    at = pixel_of(p, d < end ? d : 0);
    if (d >= end) at.n = -1;
  }
  FC_METHOD float get(int) const {
    if (at.n < 0 || filter >= p.v.filters) return 0.0f;
    return widen(load(p.v.y.at(at.n, group * p.v.filters + filter, at.i[0], at.i[1], at.i[2])));
  }
};

/// Calls f(row, column, sum) for this thread's sums.
template <class F>
FC_DEVICE void for_each_sum(int row0, int column0, const float (&sums)[kSumsM][kSumsN], F&& f) {
  const int tx = static_cast<int>(threadIdx.x) % (kTileN / kSumsN),
            ty = static_cast<int>(threadIdx.x) / (kTileN / kSumsN);
  FC_UNROLL
  for (int i = 0; i < kSumsM; ++i) {
    FC_UNROLL
    for (int j = 0; j < kSumsN; ++j) f(row0 + ty * kSumsM + i, column0 + tx * kSumsN + j, sums[i][j]);
  }
}

/// dw = the splits' sums partials[split][filter][(tap, channel)], in order: a thread per weight. Channels behind the last
/// only fill up.
template <class T>
FC_KERNEL conv_add_splits_kernel(ConvProduct<T> p, unsigned count, int splits, FastDivide by_depth) {
  unsigned rest = blockIdx.x * kElementThreads + threadIdx.x;
  if (rest >= count) return;
  float sum = 0;
  for (int s = 0; s < splits; ++s) sum += load(p.partials + static_cast<int64_t>(s) * count + rest);
  const Tap tap = tap_of(p, static_cast<int>(by_depth.split(rest)), p.depths);
  if (tap.inner < p.v.channels)
    store(p.v.w.at(rest, tap.inner, tap.t[0], tap.t[1], tap.t[2]), Narrow<T>::of(sum));
}
template <class T>
void conv_add_splits(const char* name, const ConvProduct<T>& p, const ConvProblem& q, int splits,
                     cudaStream_t stream) {
  const auto count = static_cast<unsigned>(q.K * p.depths);
  if (filters_in_tiles(p.v.w, q, q.taps())) {
    const FilterTiles t = filter_tiles(p.v.channels, q.taps(), p.inner.divisor);
    launch(name, add_filters_kernel<T>, filter_grid(t, q.K, stream), p.partials, p.v.w.data, t,
           static_cast<int64_t>(count), splits);
    return;
  }
  launch(name, conv_add_splits_kernel<T>,
         {dim3(ceil_div<unsigned>(count, kElementThreads)), dim3(kElementThreads), stream}, p, count, splits,
         FastDivide(p.depths));
}

template <class T>
ConvProduct<T> conv_product(const ConvArgs& args, Pass pass) {
  const ConvProblem& q = *args.problem;
  ConvProduct<T> p{};
  p.v = conv_view<T>(args);
  const bool to_input = pass == Pass::backward_input;
  const int64_t* extent = to_input ? q.in : q.out;
  p.pixels = static_cast<int>(q.N * extent[0] * extent[1] * extent[2]);
  const int64_t inner = to_input ? q.filters_per_group() : q.channels_per_group();
  p.depths = static_cast<int>(inner * q.taps());
  p.depth = FastDivide(extent[0]);
  p.height = FastDivide(extent[1]);
  p.width = FastDivide(extent[2]);
  p.inner = FastDivide(inner);
  p.tap_r = FastDivide(q.filter[1]);
  p.tap_s = FastDivide(q.filter[2]);
  return p;
}

}  // namespace fastcnn::cuda
