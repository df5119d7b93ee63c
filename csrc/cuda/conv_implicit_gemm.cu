// Convolution as a product of matrices that never exist ("implicit GEMM"): the patches of the input are gathered while
// they are loaded. In float32 arithmetic, for float32 and the 16-bit types.
//
//   pass               rows (A)                columns (B)           depth
//   forward            output pixels: patches  filters               (tap, channel)
//   backward_input     input pixels: dy        channels              (tap, filter)
//   backward_weight    filters: dy             (tap, channel): x     output pixels of all images, in `splits` parts
//
// Channels-last memory makes channels (and filters of dy) neighbours, so threads follow them. The depth of backward_weight
// is long and its result small: blocks take a part each, and a second kernel adds the parts in order.
#include "common/conv_problem.h"
#include "cuda/conv_algos.h"
#include "cuda/conv_product.cuh"

namespace fastcnn::cuda {
namespace {

/// An operand whose lines are pixels: of the output, or of the input in backward_input.
template <class T>
struct Pixels {
  static constexpr bool kAlongDepth = true;
  const ConvProduct<T>& p;
  int group;
  Pixel at[kFetches<kTileM>];
  Tap tap;

  FC_METHOD void set_line(int i, int line) {
    at[i] = pixel_of(p, line < p.pixels ? line : 0);
    if (line >= p.pixels) at[i].n = -1;
  }
  FC_METHOD void set_depth(int d) { tap = tap_of(p, d, p.depths); }
};

/// Patches of x: line = output pixel, depth = (tap, channel).
template <class T>
struct Patches : Pixels<T> {
  using Pixels<T>::p, Pixels<T>::group, Pixels<T>::at, Pixels<T>::tap;
  FC_METHOD float get(int i) const {
    return tap.inside && at[i].n >= 0 ? p.v.patch(at[i].n, group * p.v.channels + tap.inner, at[i].i, tap.t)
                                      : 0.0f;
  }
};

/// dy as backward_input reads it: line = input pixel, depth = (tap, filter).
template <class T>
struct Readers : Pixels<T> {
  using Pixels<T>::p, Pixels<T>::group, Pixels<T>::at, Pixels<T>::tap;
  FC_METHOD float get(int i) const {
    if (!tap.inside || at[i].n < 0) return 0.0f;
    int o[3];
    FC_UNROLL
    for (int axis = 0; axis < 3; ++axis) {
      const ConvAxis& a = p.v.axis[axis];
      const int past = at[i].i[axis] + a.pad_low - tap.t[axis] * a.dilation;
      o[axis] = static_cast<int>(a.by_stride.quotient(static_cast<unsigned>(past < 0 ? 0 : past)));
      if (past < 0 || o[axis] * a.stride != past || o[axis] >= a.out) return 0.0f;
    }
    return widen(load(p.v.y.at(at[i].n, group * p.v.filters + tap.inner, o[0], o[1], o[2])));
  }
};

/// Filters: line = filter (forward) or channel (backward_input), depth = (tap, the other one).
template <class T, bool kLineIsFilter>
struct Filters {
  static constexpr bool kAlongDepth = kLineIsFilter;
  const ConvProduct<T>& p;
  int group;
  int line[kLineIsFilter ? kFetches<kTileN> : 1];
  Tap tap;

  FC_METHOD void set_line(int i, int value) { line[i] = value; }
  FC_METHOD void set_depth(int d) { tap = tap_of(p, d, p.depths); }
  FC_METHOD float get(int i) const {
    const int k = kLineIsFilter ? line[i] : tap.inner, c = kLineIsFilter ? tap.inner : line[i];
    if (!tap.inside || line[i] >= (kLineIsFilter ? p.v.filters : p.v.channels)) return 0.0f;
    return widen(load(p.v.w.at(group * p.v.filters + k, c, tap.t[0], tap.t[1], tap.t[2])));
  }
};

/// x for backward_weight: line = (tap, channel), depth = output pixel up to `end`.
template <class T>
struct PatchColumns {
  static constexpr bool kAlongDepth = false;
  const ConvProduct<T>& p;
  int group, end;
  Tap tap;
  Pixel at;

  FC_METHOD void set_line(int, int line) { tap = tap_of(p, line, p.depths); }
  FC_METHOD void set_depth(int d) {
    at = pixel_of(p, d < end ? d : 0);
    if (d >= end) at.n = -1;
  }
  FC_METHOD float get(int) const {
    return tap.inside && at.n >= 0 ? p.v.patch(at.n, group * p.v.channels + tap.inner, at.i, tap.t) : 0.0f;
  }
};

template <class T>
FC_KERNEL implicit_forward_kernel(ConvProduct<T> p) {
  const int row0 = static_cast<int>(blockIdx.x) * kTileM, column0 = static_cast<int>(blockIdx.y) * kTileN;
  const int group = static_cast<int>(blockIdx.z);
  Patches<T> a{{p, group, {}, {}}};
  Filters<T, true> b{p, group, {}, {}};
  float sums[kSumsM][kSumsN] = {};
  tiled_product(a, b, row0, column0, 0, p.depths, sums);
  for_each_sum(row0, column0, sums, [&](int row, int column, float sum) {
    if (row >= p.pixels || column >= p.v.filters) return;
    const Pixel at = pixel_of(p, row);
    p.v.finish(at.n, group * p.v.filters + column, at.i, sum);
  });
}

template <class T>
FC_KERNEL implicit_backward_input_kernel(ConvProduct<T> p) {
  const int row0 = static_cast<int>(blockIdx.x) * kTileM, column0 = static_cast<int>(blockIdx.y) * kTileN;
  const int group = static_cast<int>(blockIdx.z);
  Readers<T> a{{p, group, {}, {}}};
  Filters<T, false> b{p, group, {}, {}};
  float sums[kSumsM][kSumsN] = {};
  tiled_product(a, b, row0, column0, 0, p.depths, sums);
  for_each_sum(row0, column0, sums, [&](int row, int column, float sum) {
    if (row >= p.pixels || column >= p.v.channels) return;
    const Pixel at = pixel_of(p, row);
    store(p.v.x.at(at.n, group * p.v.channels + column, at.i[0], at.i[1], at.i[2]), Narrow<T>::of(sum));
  });
}

/// partials[split][group][filter][(tap, channel)]
template <class T>
FC_KERNEL implicit_backward_weight_kernel(ConvProduct<T> p, unsigned column_tiles) {
  const int row0 = static_cast<int>(blockIdx.y) * kTileM;
  const int column0 = static_cast<int>(blockIdx.x % column_tiles) * kTileN;
  const int split = static_cast<int>(blockIdx.x / column_tiles), group = static_cast<int>(blockIdx.z);
  const int begin = split * p.per_split,
            end = begin + p.per_split < p.pixels ? begin + p.per_split : p.pixels;
  Slopes<T> a{p, group, end, 0, {}};
  PatchColumns<T> b{p, group, end, {}, {}};
  float sums[kSumsM][kSumsN] = {};
  tiled_product(a, b, row0, column0, begin, end, sums);
  float* out = p.partials + (static_cast<int64_t>(split) * gridDim.z + group) * p.v.filters * p.depths;
  for_each_sum(row0, column0, sums, [&](int row, int column, float sum) {
    if (row < p.v.filters && column < p.depths)
      store(out + static_cast<int64_t>(row) * p.depths + column, sum);
  });
}

template <class T>
void run(const ConvArgs& args, Pass pass, cudaStream_t stream) {
  const ConvProblem& q = *args.problem;
  ConvProduct<T> p = conv_product<T>(args, pass);
  const auto groups = static_cast<unsigned>(q.G);
  if (pass != Pass::backward_weight) {
    const bool to_input = pass == Pass::backward_input;
    const int columns = to_input ? p.v.channels : p.v.filters;
    launch("conv_implicit_gemm", to_input ? implicit_backward_input_kernel<T> : implicit_forward_kernel<T>,
           {dim3(static_cast<unsigned>(ceil_div(p.pixels, kTileM)),
                 static_cast<unsigned>(ceil_div(columns, kTileN)), groups),
            dim3(kTileThreads), stream},
           p);
    return;
  }
  const int splits = implicit_gemm_splits(q);
  p.per_split = ceil_div(ceil_div(p.pixels, splits), kTileK) * kTileK;
  p.partials = static_cast<float*>(args.workspace);
  const auto columns = static_cast<unsigned>(ceil_div(p.depths, kTileN));
  launch("conv_implicit_gemm", implicit_backward_weight_kernel<T>,
         {dim3(columns * static_cast<unsigned>(splits), static_cast<unsigned>(ceil_div(p.v.filters, kTileM)),
               groups),
          dim3(kTileThreads), stream},
         p, columns);
  conv_add_splits("conv_implicit_gemm", p, q, splits, stream);
}

}  // namespace

void conv_implicit_gemm_run(const ConvArgs& args, Pass pass, void* stream_) {
  const auto stream = static_cast<cudaStream_t>(stream_);
  switch (args.problem->dtype) {
    case DType::float16: return run<__half>(args, pass, stream);
    case DType::bfloat16: return run<__nv_bfloat16>(args, pass, stream);
    default: return run<float>(args, pass, stream);
  }
}

}  // namespace fastcnn::cuda
