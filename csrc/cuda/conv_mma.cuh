// What the passes of implicit GEMM on tensor cores share: where the rows and taps of a product lie in the source, and how
// 16 bytes of it are copied to a tile of mma_tile.cuh. What runs when: conv_mma_run.cuh.
//
//   pass               rows (A)                       columns (B)        depth
//   forward            output pixels: patches of x    filters            (tap, channel)
//   backward_input     input pixels: patches of dy    channels           (tap, filter)
//   backward_weight    filters: dy                    (tap, channel): x  output pixels of all images, in `splits` parts
//
// The channels of a tap are cut into vectors of 16 bytes, the last one filled up with zeros. Filters are packed accordingly,
// once a call. Maps are copied by vectors where their memory is channels-last and aligned and nothing is applied on load,
// else element by element; so any geometry, stride of memory and prologue will do.
#pragma once

#include "common/conv_problem.h"
#include "cuda/conv_product.cuh"
#include "cuda/mma_tile.cuh"

namespace fastcnn::cuda {

constexpr char kMmaName[] = "conv_mma";

/// One axis of the source as rows and taps read it: cell row * stride + first + tap * step.
struct Reach {
  int stride, first, step, extent;
  int to_first, to_stride;    // cell of the result that a row makes
  int tap_first, tap_stride;  // tap of the filter that a counted tap is
};

/// forward as it is; backward_input with v.x = dy, v.y = dx, v.channels = filters and v.filters = channels.
template <class T>
struct ConvMma : ConvProduct<T> {  // inner counts vectors
  Reach reach[3];
  int vectors;      // of a tap
  int filter_taps;  // of the packed filters, all of them
  int filter_extent[3];
  const T* packed;  // [group][v.filters][tap][vector]
  bool dense;       // x (dy in backward_input) is copied by vectors
  bool dense_y;     // of backward_weight: so is dy
  bool mapped;      // a padding mode other than zeros: forward only
};

/// Channels from c on of a cell, `stride` apart, of which `count` are there.
template <class T>
FC_DEVICE void copy_vector(const ConvView<T>& v, uint4* to, const T* from, int64_t stride, int c, int count,
                           bool dense) {
  if (dense) {
    ptx::copy_async<16>(to, from, count * static_cast<int>(sizeof(T)));
    return;
  }
  using Vector = Vec<T, kLanes<T>>;
  Vector vector;
  FC_UNROLL
  for (int i = 0; i < kLanes<T>; ++i)
    vector.at[i] = Narrow<T>::of(i < count ? v.input(from + i * stride, c + i) : 0.0f);
  store(reinterpret_cast<Vector*>(to), vector);
}

/// The vector of x that is under a tap for a row; zeros in the padding and outside.
template <class T>
FC_DEVICE void copy_patch(const ConvMma<T>& p, uint4* to, const Pixel& at, const Tap& tap, int group) {
  bool inside = tap.inside && at.n >= 0;
  int64_t offset = 0;
  FC_UNROLL
  for (int axis = 0; axis < 3; ++axis) {
    const Reach& r = p.reach[axis];
    int cell = at.i[axis] * r.stride + r.first + tap.t[axis] * r.step;
    if (p.mapped) cell = static_cast<int>(p.v.axis[axis].input(at.i[axis], tap.t[axis]));
    inside = inside && static_cast<unsigned>(cell) < static_cast<unsigned>(r.extent);
    offset += cell * p.v.x.stride[2 + axis];
  }
  constexpr int kWhole = kLanes<T>;
  const int left = p.v.channels - tap.inner * kWhole, c = group * p.v.channels + tap.inner * kWhole;
  const T* from = p.v.x.data;
  if (inside) from += at.n * p.v.x.stride[0] + c * p.v.x.stride[1] + offset;
  copy_vector(p.v, to, from, p.v.x.stride[1], c, !inside ? 0 : left < kWhole ? left : kWhole, p.dense);
}

/// True if the map's channels are neighbours and every vector of a group begins at a multiple of 16 bytes.
template <class T>
bool is_dense(const View<T>& v, int channels, int64_t groups) {
  bool dense = is_aligned(v.data, 16) && v.stride[1] == 1 && (groups == 1 || channels % kLanes<T> == 0);
  for (int axis : {0, 2, 3, 4}) dense = dense && v.stride[axis] % kLanes<T> == 0;
  return dense;
}

}  // namespace fastcnn::cuda
