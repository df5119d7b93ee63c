#include "cpu/conv_patches.h"

#include <algorithm>
#include <numeric>

#include "cpu/isa.h"
#include "cpu/thread_pool.h"

namespace fastcnn::cpu {
namespace {

// Elements of a filter in one packing task: the task's filters (64 of them) stay in L2, and what is read of each is long
// enough for the caches to fetch ahead.
constexpr int64_t kPackElements = 288;
constexpr int64_t kPackFilters = 32;  // of one packing task of backward_input

int64_t div_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

int gather_padding(PadMode mode) {
  switch (mode) {
    case PadMode::reflect: return kPadReflect;
    case PadMode::replicate: return kPadReplicate;
    case PadMode::circular: return kPadCircular;
    default: return kPadZeros;
  }
}

/// Filters as (K, C/G, T, R, S) memory: channel and tap strides collapse to one run.
bool has_plain_taps(const ConvProblem& p, const Volume& w) {
  // Strides of axes of one tap, such as the depth of 2-D filters, may be anything.
  return (p.filter[2] == 1 || w.axis[2] == 1) && (p.filter[1] == 1 || w.axis[1] == p.filter[2]) &&
         (p.filter[0] == 1 || w.axis[0] == p.filter[1] * p.filter[2]) && w.channel == p.taps();
}

/// Calls f(padded position) for the cell itself and for each padding cell that shows input cell i of an axis.
template <class F>
void for_each_image(const ConvProblem& p, int axis, int64_t i, F&& f) {
  const int64_t n = p.in[axis], low = p.pad_low[axis], high = p.pad_high[axis];
  f(i + low);
  for (int64_t q = 0; q < low; ++q)
    if (conv_input_index(0, q, 1, 1, low, n, p.pad_mode) == i) f(q);
  for (int64_t q = low + n; q < low + n + high; ++q)
    if (conv_input_index(0, q, 1, 1, low, n, p.pad_mode) == i) f(q);
}

}  // namespace

Volume volume(const Tensor& t) {
  Volume v;
  if (!t.storage) return v;
  v.data = t.data<float>();
  v.batch = t.strides[0];
  v.channel = t.shape[1] == 1 ? 1 : t.strides[1];
  for (int i = 2; i < t.ndim(); ++i) v.axis[i + 3 - t.ndim()] = t.strides[i];
  return v;
}

Volume channels_last_volume(float* data, const int64_t (&extent)[3], int64_t channels) {
  Volume v;
  v.data = data;
  v.channel = 1;
  v.axis[2] = channels;
  v.axis[1] = v.axis[2] * extent[2];
  v.axis[0] = v.axis[1] * extent[1];
  v.batch = v.axis[0] * extent[0];
  return v;
}

Gather conv_input_patches(const ConvProblem& p, const Volume& x) {
  Gather g{};
  g.source = x.data;
  g.batch_stride = x.batch;
  g.channels = p.channels_per_group();
  g.channel_stride = g.channels == 1 ? 1 : x.channel;
  g.padding = gather_padding(p.pad_mode);
  for (int a = 0; a < 3; ++a)
    g.axis[a] = {p.in[a], x.axis[a], p.out[a], p.filter[a], p.stride[a], -p.pad_low[a], p.dilation[a]};
  return g;
}

Gather conv_output_rows(const ConvProblem& p, const Volume& y) {
  Gather g{};
  g.source = y.data;
  g.batch_stride = y.batch;
  g.channels = p.filters_per_group();
  g.channel_stride = g.channels == 1 ? 1 : y.channel;
  for (int a = 0; a < 3; ++a) g.axis[a] = {p.out[a], y.axis[a], p.out[a], 1, 1, 0, 1};
  return g;
}

int64_t conv_phases(const ConvProblem& p, int axis) { return std::min(p.in[axis], p.stride[axis]); }

ConvPhase conv_phase(const ConvProblem& p, int axis, int64_t index) {
  const int64_t stride = p.stride[axis], dilation = p.dilation[axis], filter = p.filter[axis];
  const int64_t reach = index + p.pad_low[axis], common = std::gcd(stride, dilation);
  ConvPhase phase{};
  phase.index = phase.first = index;
  phase.count = div_up(p.in[axis] - index, stride);
  // Tap r arrives here when (reach - r * dilation) % stride == 0: every stride / common-th tap, or none.
  phase.tap_down = stride / common;
  phase.tap_step = dilation / common;
  for (int64_t r = 0; r < std::min(filter, phase.tap_down); ++r) {
    if ((reach - r * dilation) % stride != 0) continue;
    phase.taps = div_up(filter - r, phase.tap_down);
    phase.tap_first = r + (phase.taps - 1) * phase.tap_down;
    phase.offset = (reach - phase.tap_first * dilation) / stride;
    break;
  }
  return phase;
}

Gather conv_gradient_patches(const ConvProblem& p, const Volume& dy, const ConvPhase (&phase)[3]) {
  Gather g{};
  g.source = dy.data;
  g.batch_stride = dy.batch;
  g.channels = p.filters_per_group();
  g.channel_stride = g.channels == 1 ? 1 : dy.channel;
  for (int a = 0; a < 3; ++a)
    g.axis[a] = {p.out[a], dy.axis[a], phase[a].count, phase[a].taps, 1, phase[a].offset, phase[a].tap_step};
  return g;
}

size_t conv_phase_filter_offset(const ConvProblem& p, const ConvPhase (&phase)[3]) {
  int64_t before[3] = {};  // taps of the classes in front, per axis
  for (int a = 0; a < 3; ++a)
    for (int64_t i = 0; i < phase[a].index; ++i) before[a] += conv_phase(p, a, i).taps;
  const int64_t taps = before[0] * p.filter[1] * p.filter[2] +
                       phase[0].taps * (before[1] * p.filter[2] + phase[1].taps * before[2]);
  return packed_filter_floats(p.G, taps * p.filters_per_group(), p.channels_per_group());
}

void conv_pack_forward(const ConvProblem& p, const Volume& w, float* packed, int threads) {
  const Kernels& isa = kernels();
  const int64_t nr = isa.gemm.nr, Cg = p.channels_per_group(), Kg = p.filters_per_group(), taps = p.taps();
  const int64_t pack_channels = std::max<int64_t>(kPackElements / std::max<int64_t>(taps, 1), 16);
  const int64_t panels = div_up(Kg, nr), parts = div_up(Cg, pack_channels), depth = taps * Cg;
  parallel_for(
      p.G * panels * parts,
      [&](int64_t task, int) {
        const int64_t c = task % parts * pack_channels, channels = std::min(pack_channels, Cg - c);
        const int64_t group = task / parts / panels, k = task / parts % panels * nr,
                      filters = std::min(nr, Kg - k);
        const float* source = w.data + (group * Kg + k) * w.batch;
        float* dst = packed + packed_filter_floats(group, depth, Kg) + k * depth;
        if (has_plain_taps(p, w)) {
          isa.pack.filter(source, w.batch, filters, taps, Cg, c, c + channels, dst, nr);
          return;
        }
        int64_t tap = 0;
        for (int64_t t = 0; t < p.filter[0]; ++t)
          for (int64_t r = 0; r < p.filter[1]; ++r)
            for (int64_t s = 0; s < p.filter[2]; ++s, ++tap)
              isa.pack.matrix(source + c * w.channel + t * w.axis[0] + r * w.axis[1] + s * w.axis[2],
                              w.channel, w.batch, channels, filters, dst + (tap * Cg + c) * nr, nr, nr);
      },
      threads);
}

void conv_pack_backward_input(const ConvProblem& p, const Volume& w, float* packed, int threads) {
  const Kernels& isa = kernels();
  const int64_t nr = isa.gemm.nr, Cg = p.channels_per_group(), Kg = p.filters_per_group();
  const int64_t panels = div_up(Cg, nr), parts = div_up(Kg, kPackFilters);
  parallel_for(
      p.G * panels * parts,
      [&](int64_t task, int) {
        const int64_t k = task % parts * kPackFilters, filters = std::min(kPackFilters, Kg - k);
        const int64_t group = task / parts / panels, c = task / parts % panels * nr,
                      channels = std::min(nr, Cg - c);
        const float* source = w.data + (group * Kg + k) * w.batch + c * w.channel;
        conv_for_each_phase(p, [&](const ConvPhase(&phase)[3]) {
          const int64_t depth = phase[0].taps * phase[1].taps * phase[2].taps * Kg;
          float* dst = packed + conv_phase_filter_offset(p, phase) + packed_filter_floats(group, depth, Cg) +
                       c * depth + k * nr;
          for (int64_t t = 0; t < phase[0].taps; ++t)
            for (int64_t r = 0; r < phase[1].taps; ++r)
              for (int64_t s = 0; s < phase[2].taps; ++s, dst += Kg * nr)
                isa.pack.matrix(source + (phase[0].tap_first - t * phase[0].tap_down) * w.axis[0] +
                                    (phase[1].tap_first - r * phase[1].tap_down) * w.axis[1] +
                                    (phase[2].tap_first - s * phase[2].tap_down) * w.axis[2],
                                w.batch, w.channel, filters, channels, dst, nr, nr);
        });
      },
      threads);
}

bool conv_needs_fold(const ConvProblem& p) {
  bool padded = false;
  for (int a = 0; a < 3; ++a) padded = padded || p.pad_low[a] || p.pad_high[a];
  return padded && p.pad_mode != PadMode::zeros;
}

ConvProblem conv_with_padding_inside(ConvProblem p) {
  for (int a = 0; a < 3; ++a) {
    p.in[a] += p.pad_low[a] + p.pad_high[a];
    p.pad_low[a] = p.pad_high[a] = 0;
  }
  p.pad_mode = PadMode::zeros;
  return p;
}

void conv_fold_padding(const ConvProblem& p, const Volume& padded, const Volume& dx, int threads) {
  parallel_for(
      p.N * p.in[0] * p.in[1],
      [&](int64_t task, int) {
        const int64_t h = task % p.in[1], d = task / p.in[1] % p.in[0], n = task / p.in[1] / p.in[0];
        for (int64_t w = 0; w < p.in[2]; ++w) {
          float* out = dx.data + n * dx.batch + d * dx.axis[0] + h * dx.axis[1] + w * dx.axis[2];
          for (int64_t c = 0; c < p.C; ++c) out[c * dx.channel] = 0.0f;
          for_each_image(p, 0, d, [&](int64_t pd) {
            for_each_image(p, 1, h, [&](int64_t ph) {
              for_each_image(p, 2, w, [&](int64_t pw) {
                const float* in = padded.data + n * padded.batch + pd * padded.axis[0] + ph * padded.axis[1] +
                                  pw * padded.axis[2];
                for (int64_t c = 0; c < p.C; ++c) out[c * dx.channel] += in[c];
              });
            });
          });
        }
      },
      threads);
}

const float* conv_copy_vector(const Tensor& t, int64_t n, float* dst) {
  const float* src = t.data<float>();
  const int64_t stride = t.ndim() ? t.strides[0] : 0;
  for (int64_t i = 0; i < n; ++i) dst[i] = src[i * stride];
  return dst;
}

}  // namespace fastcnn::cpu
