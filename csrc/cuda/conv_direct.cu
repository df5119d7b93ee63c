// Direct convolution: the loops of the definition, one output element to a thread. It takes any geometry, dtype, padding
// mode, prologue and epilogue, reads every operand through its strides and needs no workspace: the row that always runs,
// and the one to read first. Sums run in the order (t, r, s, c), in float32 for 16-bit types.
//
// What makes even this kernel tolerable on a GPU is which thread gets which element. Memory is channels-last, so
// neighbouring threads take neighbouring channels of one pixel:
//   forward          threads k, k+1, ...: all read the same x (one transaction for the warp), and write one run of y
//   backward_input   threads c, c+1, ...: all read the same dy, and write one run of dx
//   backward_weight  threads c, c+1, ...: all read the same dy and one run of x; the pixels are shared out over eight
//                    groups of threads, whose sums are added in a fixed order in shared memory
// Padding taps are skipped, not multiplied by zero, so a non-finite weight does not spoil the border. The innermost reads
// are plain ones: in the emulator a checked access costs ten times the multiplication that it feeds.
#include "cuda/conv_algos.h"
#include "cuda/conv_view.cuh"
#include "cuda/dispatch.cuh"
#include "cuda/launch.cuh"

namespace fastcnn::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kLanesPerGroup = 32, kGroups = 8;  // of backward_weight

template <class T>
struct Direct : ConvView<T> {
  // From a flat number to (n, pixel, channel), channels fastest.
  FastDivide by_channel, by_width, by_height, by_depth, by_group, by_tap[2];
};

template <class T>
FC_KERNEL conv_direct_forward_kernel(Direct<T> p, unsigned count) {
  unsigned rest = blockIdx.x * kThreads + threadIdx.x;
  if (rest >= count) return;
  const int k = static_cast<int>(p.by_channel.split(rest)), ow = static_cast<int>(p.by_width.split(rest));
  const int oh = static_cast<int>(p.by_height.split(rest)), od = static_cast<int>(p.by_depth.split(rest));
  const int n = static_cast<int>(rest), c0 = static_cast<int>(p.by_group.quotient(k)) * p.channels;

  Wide<T> sum = 0;
  for (int t = 0; t < p.axis[0].taps; ++t) {
    const int64_t id = p.axis[0].input(od, t);
    if (id < 0) continue;
    for (int r = 0; r < p.axis[1].taps; ++r) {
      const int64_t ih = p.axis[1].input(oh, r);
      if (ih < 0) continue;
      for (int s = 0; s < p.axis[2].taps; ++s) {
        const int64_t iw = p.axis[2].input(ow, s);
        if (iw < 0) continue;
        const T *x = p.x.at(n, c0, id, ih, iw), *w = p.w.at(k, 0, t, r, s);
        for (int c = 0; c < p.channels; ++c, x += p.x.stride[1], w += p.w.stride[1]) {
          sum += p.input(x, c0 + c) * widen(*w);
        }
      }
    }
  }
  const int o[3] = {od, oh, ow};
  p.finish(n, k, o, sum);
}

/// dx[n, c, i] = sum of dy[n, k, o] w[k, c, tap] over the taps and the o that read cell i through them.
template <class T>
FC_KERNEL conv_direct_backward_input_kernel(Direct<T> p, unsigned count) {
  unsigned rest = blockIdx.x * kThreads + threadIdx.x;
  if (rest >= count) return;
  const int c = static_cast<int>(p.by_channel.split(rest)), iw = static_cast<int>(p.by_width.split(rest));
  const int ih = static_cast<int>(p.by_height.split(rest)), id = static_cast<int>(p.by_depth.split(rest));
  const int n = static_cast<int>(rest), group = static_cast<int>(p.by_group.quotient(c));
  const int k0 = group * p.filters;

  Wide<T> sum = 0;
  int64_t od = 0, oh = 0, ow = 0;
  for (int t = 0; t < p.axis[0].taps; ++t) {
    for (int64_t a = 0; a < p.axis[0].sources(id, t, a, od); ++a) {
      for (int r = 0; r < p.axis[1].taps; ++r) {
        for (int64_t b = 0; b < p.axis[1].sources(ih, r, b, oh); ++b) {
          for (int s = 0; s < p.axis[2].taps; ++s) {
            for (int64_t d = 0; d < p.axis[2].sources(iw, s, d, ow); ++d) {
              const T *y = p.y.at(n, k0, od, oh, ow), *w = p.w.at(k0, c - group * p.channels, t, r, s);
              for (int k = 0; k < p.filters; ++k, y += p.y.stride[1], w += p.w.stride[0]) {
                sum += widen(*y) * widen(*w);
              }
            }
          }
        }
      }
    }
  }
  store(p.x.at(n, c, id, ih, iw), Narrow<T>::of(sum));
}

/// A block for 32 channels of one filter and tap: dw[k, c, tap] = sum over n and o of dy[n, k, o] x[n, c, i(o, tap)].
/// Each group of threads adds up one eighth of the images' rows.
template <class T>
FC_KERNEL conv_direct_backward_weight_kernel(Direct<T> p, int images, unsigned runs) {
  FC_SHARED(Wide<T>, partial, [kGroups][kLanesPerGroup]);
  const int lane = static_cast<int>(threadIdx.x), group = static_cast<int>(threadIdx.y);
  unsigned rest = blockIdx.x;
  const int c = static_cast<int>(rest % runs) * kLanesPerGroup + lane;
  rest /= runs;
  const int s = static_cast<int>(p.by_tap[1].split(rest)), r = static_cast<int>(p.by_tap[0].split(rest));
  const int k = static_cast<int>(blockIdx.y), t = static_cast<int>(rest);
  const int c0 = static_cast<int>(p.by_group.quotient(k)) * p.channels;

  Wide<T> total = 0;
  const int rows = p.axis[0].out * p.axis[1].out;
  for (int n = 0; n < images && c < p.channels; ++n) {
    Wide<T> sum = 0;  // per image first: shorter sums, smaller errors
    for (int row = group; row < rows; row += kGroups) {
      unsigned depth = static_cast<unsigned>(row);
      const int oh = static_cast<int>(p.by_height.split(depth)), od = static_cast<int>(depth);
      const int64_t id = p.axis[0].input(od, t), ih = p.axis[1].input(oh, r);
      if (id < 0 || ih < 0) continue;
      for (int ow = 0; ow < p.axis[2].out; ++ow) {
        const int64_t iw = p.axis[2].input(ow, s);
        if (iw < 0) continue;
        sum += widen(*p.y.at(n, k, od, oh, ow)) * p.input(p.x.at(n, c0 + c, id, ih, iw), c0 + c);
      }
    }
    total += sum;
  }
  store(&partial[group][lane], total);
  __syncthreads();
  if (group != 0 || c >= p.channels) return;
  for (int g = 1; g < kGroups; ++g) total += load(&partial[g][lane]);
  store(p.w.at(k, c, t, r, s), Narrow<T>::of(total));
}

template <class T>
Direct<T> direct_of(const ConvArgs& a, Pass pass) {
  const ConvProblem& q = *a.problem;
  Direct<T> p{};
  static_cast<ConvView<T>&>(p) = conv_view<T>(a);
  const bool to_input = pass == Pass::backward_input;
  const int64_t* extent = to_input ? q.in : q.out;
  p.by_channel = FastDivide(to_input ? q.C : q.K);
  p.by_depth = FastDivide(extent[0]);
  p.by_height = FastDivide(extent[1]);
  p.by_width = FastDivide(extent[2]);
  p.by_group = FastDivide(to_input ? q.channels_per_group() : q.filters_per_group());
  p.by_tap[0] = FastDivide(q.filter[1]);
  p.by_tap[1] = FastDivide(q.filter[2]);
  return p;
}

template <class T>
void run(const ConvArgs& a, Pass pass, cudaStream_t stream) {
  const ConvProblem& q = *a.problem;
  Direct<T> p = direct_of<T>(a, pass);
  if (pass == Pass::backward_weight) {
    const int64_t runs = ceil_div<int64_t>(q.channels_per_group(), kLanesPerGroup), blocks = runs * q.taps();
    FC_CHECK(blocks <= kMaxIndices && q.K <= 65535 && q.N < INT32_MAX,
             "conv: too many filters or taps for CUDA, got ", q.K, " and ", q.taps());
    launch("conv_direct", conv_direct_backward_weight_kernel<T>,
           {dim3(static_cast<unsigned>(blocks), static_cast<unsigned>(q.K)), dim3(kLanesPerGroup, kGroups),
            stream},
           p, static_cast<int>(q.N), static_cast<unsigned>(runs));
    return;
  }
  const bool forward = pass == Pass::forward;
  const int64_t sample = forward ? q.K * q.out_pixels() : q.C * q.in_pixels();
  FC_CHECK(sample <= kMaxIndices, "conv: a sample of ", sample, " elements, expected at most ", kMaxIndices,
           " on CUDA");
  if (sample == 0) return;
  const int64_t at_once = kMaxIndices / sample;  // images of one launch
  for (int64_t n = 0; n < q.N; n += at_once) {
    const auto count = static_cast<unsigned>(std::min(at_once, q.N - n) * sample);
    launch("conv_direct", forward ? conv_direct_forward_kernel<T> : conv_direct_backward_input_kernel<T>,
           {dim3(ceil_div<unsigned>(count, kThreads)), dim3(kThreads), stream}, p, count);
    p.x.data += at_once * p.x.stride[0];
    p.y.data += at_once * p.y.stride[0];
    if (p.residual.data) p.residual.data += at_once * p.residual.stride[0];
  }
}

}  // namespace

void conv_direct_run(const ConvArgs& args, Pass pass, void* stream) {
  dispatch_device_float(args.problem->dtype, "conv", [&](auto type) {
    run<typename decltype(type)::type>(args, pass, static_cast<cudaStream_t>(stream));
  });
}

}  // namespace fastcnn::cuda
