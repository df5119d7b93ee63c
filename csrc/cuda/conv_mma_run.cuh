// Implicit GEMM on tensor cores, pass by pass: the arguments of its kernels, and their launches.
//
// backward_input takes the cells of x by residue class of their coordinates modulo the stride: a class is read through
// every stride-th tap only, and by consecutive outputs. It so is a forward pass over dy with steps of its own.
#pragma once

#include <algorithm>
#include <utility>

#include "cuda/conv_mma_product.cuh"
#include "cuda/conv_mma_weight.cuh"

namespace fastcnn::cuda {

/// The residue class `rest` of one axis for backward_input, and how many cells and taps it has.
inline Reach phase_of(const ConvAxis& a, int rest, int* cells, int* taps) {
  Reach r{1, 0, 0, a.out, rest, a.stride, 0, 1};
  *cells = (a.in - rest + a.stride - 1) / a.stride;
  *taps = 0;
  for (int t = 0; t < a.taps; ++t) {
    const int past = rest + a.pad_low - t * a.dilation;
    if (past % a.stride != 0) continue;
    if (*taps == 0) {
      r.tap_first = t;
      r.first = past / a.stride;
    } else if (*taps == 1) {
      r.tap_stride = t - r.tap_first;
      r.step = -r.tap_stride * a.dilation / a.stride;
    }
    ++*taps;
  }
  return r;
}

template <class Kind>
void conv_mma(const ConvArgs& args, Pass pass, void* stream_) {
  using T = typename Kind::Element;
  const auto stream = static_cast<cudaStream_t>(stream_);
  const ConvProblem& q = *args.problem;
  const bool turned = pass == Pass::backward_input;
  ConvMma<T> p{};
  static_cast<ConvProduct<T>&>(p) = conv_product<T>(args, pass);
  if (turned) {
    std::swap(p.v.x, p.v.y);
    std::swap(p.v.channels, p.v.filters);
  }
  p.vectors = ceil_div(p.v.channels, kLanes<T>);
  p.inner = FastDivide(p.vectors);
  p.depths = static_cast<int>(q.taps()) * p.vectors;
  p.dense = is_dense(p.v.x, p.v.channels, q.G) && !p.v.scale.data && !p.v.relu_before;
  p.mapped = q.pad_mode != PadMode::zeros;
  p.filter_taps = static_cast<int>(q.taps());
  T* packed = static_cast<T*>(args.workspace);
  p.packed = packed;
  for (int a = 0; a < 3; ++a) {
    const ConvAxis& axis = p.v.axis[a];
    p.filter_extent[a] = axis.taps;
    p.reach[a] = {axis.stride, -axis.pad_low, axis.dilation, axis.in, 0, 1, 0, 1};
  }
  if (pass == Pass::backward_weight)
    return conv_mma_weight<Kind>(p, q, static_cast<float*>(args.workspace), stream);
  const auto count = static_cast<unsigned>(q.G * p.v.filters * p.depths * kLanes<T>);
  if (!pack_filters(kMmaName, p.v.w, q, turned, p.vectors * kLanes<T>, packed, stream))
    launch(kMmaName, mma_pack_kernel<T>,
           {dim3(ceil_div<unsigned>(count, kElementThreads)), dim3(kElementThreads), stream}, p, packed,
           count, FastDivide(p.vectors * kLanes<T>), FastDivide(p.v.filters), FastDivide(q.filter[1]),
           FastDivide(q.filter[2]), FastDivide(q.filter[0]), turned);
  if (!turned) return launch_mma<Kind>(p, q.G, stream);
  int phases[3];
  for (int a = 0; a < 3; ++a) phases[a] = std::min(p.v.axis[a].stride, p.v.axis[a].in);
  for (int i = 0; i < phases[0] * phases[1] * phases[2]; ++i) {
    const int rest[3] = {i / phases[2] / phases[1], i / phases[2] % phases[1], i % phases[2]};
    int cells[3], taps[3];
    for (int a = 0; a < 3; ++a) p.reach[a] = phase_of(p.v.axis[a], rest[a], &cells[a], &taps[a]);
    p.pixels = static_cast<int>(q.N * cells[0] * cells[1] * cells[2]);
    p.depths = taps[0] * taps[1] * taps[2] * p.vectors;
    p.depth = FastDivide(cells[0]);
    p.height = FastDivide(cells[1]);
    p.width = FastDivide(cells[2]);
    p.tap_r = FastDivide(taps[1]);
    p.tap_s = FastDivide(taps[2]);
    launch_mma<Kind>(p, q.G, stream);
  }
}

}  // namespace fastcnn::cuda
