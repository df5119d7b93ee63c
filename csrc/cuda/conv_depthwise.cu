// Depthwise convolution: one filter per channel, so there is nothing to add up across channels and next to nothing to
// compute; all that counts is how often memory is read. Neighbouring threads are neighbouring channels of channels-last
// memory, every access of a warp one run of it.
//
//   forward, backward_input   a block takes 32 channels, whose filters it keeps in shared memory, and 8 strips of pixels;
//                             a thread makes a strip of 4, and neighbouring strips find each other's cells in the cache
//   backward_weight           a block takes 32 channels, one tap and a part of the images' rows; parts are added in order
#include "cuda/conv_algos.h"
#include "cuda/conv_filters.cuh"
#include "cuda/conv_view.cuh"
#include "cuda/dispatch.cuh"
#include "cuda/launch.cuh"

namespace fastcnn::cuda {
namespace {

constexpr int kLanes = 32, kStrips = 8, kStrip = 4, kThreads = 256;

template <class T>
struct Depthwise : ConvView<T> {
  int taps, count, channels_in_all, splits, rows;
  FastDivide across, height, depth, by_tap, tap_s, tap_r;  // strips of a row, rows, planes; taps
  Wide<T>* partials;                                       // of backward_weight: [split][tap][channel]

  FC_METHOD void take_apart(unsigned tap, int (&t)[3]) const {
    t[2] = static_cast<int>(tap_s.split(tap));
    t[1] = static_cast<int>(tap_r.split(tap));
    t[0] = static_cast<int>(tap);
  }
};

/// The position that cell i of one axis has under tap t, seen from the other side of the convolution; -1 if none.
template <bool kToInput>
FC_DEVICE int other_side(const ConvAxis& a, int i, int t) {
  if constexpr (!kToInput) return static_cast<int>(a.input(i, t));
  const int past = i + a.pad_low - t * a.dilation;
  if (past < 0) return -1;
  const int o = static_cast<int>(a.by_stride.quotient(static_cast<unsigned>(past)));
  return o * a.stride == past && o < a.out ? o : -1;
}

/// forward: y from x; backward_input: dx from dy.
template <class T, bool kToInput>
FC_KERNEL depthwise_kernel(Depthwise<T> p) {
  using A = Wide<T>;
  // Channel by channel, as they lie in memory; an odd number of words apart, so that a tap's lie in 32 different banks.
  FC_SHARED(A, filters, [kLanes * (kDepthwiseTaps + 1)]);
  const int lane = static_cast<int>(threadIdx.x), row = static_cast<int>(threadIdx.y), pitch = p.taps | 1;
  const int c0 = static_cast<int>(blockIdx.y) * kLanes, c = c0 + lane;
  for (int i = row * kLanes + lane; i < kLanes * p.taps; i += kThreads) {
    unsigned from = static_cast<unsigned>(i);
    const unsigned tap = p.by_tap.split(from);
    const int channel = static_cast<int>(from);
    if (c0 + channel >= p.channels_in_all) break;
    int t[3];
    p.take_apart(tap, t);
    store(filters + channel * pitch + tap, widen(load(p.w.at(c0 + channel, 0, t[0], t[1], t[2]))));
  }
  __syncthreads();
  const int strip = static_cast<int>(blockIdx.x) * kStrips + row;
  if (strip >= p.count || c >= p.channels_in_all) return;
  unsigned rest = static_cast<unsigned>(strip);
  const int w0 = static_cast<int>(p.across.split(rest)) * kStrip, h = static_cast<int>(p.height.split(rest));
  const int d = static_cast<int>(p.depth.split(rest)), n = static_cast<int>(rest);
  const int width = kToInput ? p.axis[2].in : p.axis[2].out;

  A sums[kStrip] = {};
  int tap = 0;
  for (int t = 0; t < p.axis[0].taps; ++t) {
    const int od = other_side<kToInput>(p.axis[0], d, t);
    for (int r = 0; r < p.axis[1].taps; ++r) {
      const int oh = other_side<kToInput>(p.axis[1], h, r);
      for (int s = 0; s < p.axis[2].taps; ++s, ++tap) {
        if (od < 0 || oh < 0) continue;
        const A filter = filters[lane * pitch + tap];
        FC_UNROLL
        for (int j = 0; j < kStrip; ++j) {
          const int ow = w0 + j < width ? other_side<kToInput>(p.axis[2], w0 + j, s) : -1;
          if (ow < 0) continue;
          if constexpr (kToInput) {
            sums[j] += widen(load(p.y.at(n, c, od, oh, ow))) * filter;
          } else {
            sums[j] += p.input(p.x.at(n, c, od, oh, ow), c) * filter;
          }
        }
      }
    }
  }
  FC_UNROLL
  for (int j = 0; j < kStrip; ++j) {
    if (w0 + j >= width) break;
    if constexpr (kToInput) {
      store(p.x.at(n, c, d, h, w0 + j), Narrow<T>::of(sums[j]));
    } else {
      const int o[3] = {d, h, w0 + j};
      p.finish(n, c, o, sums[j]);
    }
  }
}

template <class T>
FC_KERNEL depthwise_weight_kernel(Depthwise<T> p) {
  using A = Wide<T>;
  FC_SHARED(A, shared, [kStrips][kLanes]);
  const int lane = static_cast<int>(threadIdx.x), group = static_cast<int>(threadIdx.y);
  const int c = static_cast<int>(blockIdx.x) * kLanes + lane, split = static_cast<int>(blockIdx.z);
  int t[3];
  p.take_apart(blockIdx.y, t);
  A total = 0;
  for (int row = split * kStrips + group; row < p.rows && c < p.channels_in_all; row += p.splits * kStrips) {
    unsigned rest = static_cast<unsigned>(row);
    const int oh = static_cast<int>(p.height.split(rest)), od = static_cast<int>(p.depth.split(rest));
    const int n = static_cast<int>(rest);
    const int64_t id = p.axis[0].input(od, t[0]), ih = p.axis[1].input(oh, t[1]);
    if (id < 0 || ih < 0) continue;
    A sum = 0;  // per row first: shorter sums, smaller errors
    for (int ow = 0; ow < p.axis[2].out; ++ow) {
      const int64_t iw = p.axis[2].input(ow, t[2]);
      if (iw >= 0) sum += widen(load(p.y.at(n, c, od, oh, ow))) * p.input(p.x.at(n, c, id, ih, iw), c);
    }
    total += sum;
  }
  store(&shared[group][lane], total);
  __syncthreads();
  if (group != 0 || c >= p.channels_in_all) return;
  for (int g = 1; g < kStrips; ++g) total += load(&shared[g][lane]);
  const int64_t place = static_cast<int64_t>(split) * p.taps + blockIdx.y;
  store(p.partials + place * p.channels_in_all + c, total);
}

/// dw[channel][tap] = the parts, in order.
template <class T>
FC_KERNEL depthwise_add_kernel(Depthwise<T> p, unsigned count, FastDivide by_channel) {
  unsigned rest = blockIdx.x * kThreads + threadIdx.x;
  if (rest >= count) return;
  Wide<T> total = 0;
  for (int split = 0; split < p.splits; ++split)
    total += load(p.partials + static_cast<int64_t>(split) * count + rest);
  const int c = static_cast<int>(by_channel.split(rest));
  int t[3];
  p.take_apart(rest, t);
  store(p.w.at(c, 0, t[0], t[1], t[2]), Narrow<T>::of(total));
}

template <class T>
void run(const ConvArgs& args, Pass pass, cudaStream_t stream) {
  const ConvProblem& q = *args.problem;
  Depthwise<T> p{};
  static_cast<ConvView<T>&>(p) = conv_view<T>(args);
  const bool to_input = pass == Pass::backward_input;
  const int64_t* extent = to_input ? q.in : q.out;
  const int64_t strips = ceil_div<int64_t>(extent[2], kStrip);
  p.taps = static_cast<int>(q.taps());
  p.channels_in_all = static_cast<int>(q.C);
  p.rows = static_cast<int>(q.N * extent[0] * extent[1]);
  p.count = static_cast<int>(p.rows * strips);
  p.across = FastDivide(strips);
  p.height = FastDivide(extent[1]);
  p.depth = FastDivide(extent[0]);
  p.by_tap = FastDivide(q.taps());
  p.tap_s = FastDivide(q.filter[2]);
  p.tap_r = FastDivide(q.filter[1]);
  const auto lanes = static_cast<unsigned>(ceil_div<int64_t>(q.C, kLanes));
  if (pass != Pass::backward_weight) {
    launch("conv_depthwise", to_input ? depthwise_kernel<T, true> : depthwise_kernel<T, false>,
           {dim3(static_cast<unsigned>(ceil_div(p.count, kStrips)), lanes), dim3(kLanes, kStrips), stream},
           p);
    return;
  }
  p.splits = depthwise_splits(q);
  p.partials = static_cast<Wide<T>*>(args.workspace);
  launch("conv_depthwise", depthwise_weight_kernel<T>,
         {dim3(lanes, static_cast<unsigned>(p.taps), static_cast<unsigned>(p.splits)), dim3(kLanes, kStrips),
          stream},
         p);
  const auto count = static_cast<unsigned>(q.C * q.taps());
  if (filters_in_tiles(p.w, q, q.taps())) {
    const FilterTiles t = filter_tiles(q.C, q.taps(), q.C);
    launch("conv_depthwise", add_filters_kernel<T>, filter_grid(t, 1, stream), p.partials, p.w.data, t,
           static_cast<int64_t>(count), p.splits);
    return;
  }
  launch("conv_depthwise", depthwise_add_kernel<T>,
         {dim3(ceil_div<unsigned>(count, kThreads)), dim3(kThreads), stream}, p, count, FastDivide(q.C));
}

}  // namespace

void conv_depthwise_run(const ConvArgs& args, Pass pass, void* stream) {
  dispatch_device_float(args.problem->dtype, "conv", [&](auto type) {
    run<typename decltype(type)::type>(args, pass, static_cast<cudaStream_t>(stream));
  });
}

}  // namespace fastcnn::cuda
