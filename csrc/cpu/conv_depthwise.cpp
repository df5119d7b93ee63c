// Depthwise convolution: every channel has its own filter. Lanes are channels. Lines whose channels are not innermost
// in memory, or that have a prologue, are first gathered into scratch.
//
//   forward         y[q, c]    = sum over taps of x line [q * stride + s * dilation - pad, c] * w[tap, c]
//   backward_input  dx[i, c]   = sum over the taps that reach i of dy line [.., c] * w[tap, c], one residue class
//                                of the stride after the other, so that neighbours in a class read neighbours
//   backward_weight            conv_depthwise_weight.cpp
//
// Memory bounds it: two rows of outputs are computed together, so that each line is read for both while it is near, and
// a task is a strip of such pairs.
#include "cpu/conv_depthwise.h"

#include <cmath>

#include "cpu/conv_algos.h"
#include "cpu/thread_pool.h"

namespace fastcnn::cpu {
namespace {

constexpr int64_t kFilterFloats = 4096;  // of the filters used at a time: a third of the nearest cache
constexpr int64_t kStripFloats = 65536;
// At least. Where lines are copied, fewer strips copy fewer lines twice.
constexpr int64_t kStrips = 32, kCopiedStrips = 16;

int64_t div_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

/// Rows of outputs in strips of pairs. A function of the problem.
struct Strips {
  int64_t height, pairs, count;  ///< rows of a plane; of a strip; strips of a plane
  Strips(int64_t planes, int64_t rows, int64_t pixels, int64_t channels) : height(rows) {
    const int64_t row_floats = pixels * channels, all = div_up(rows, 2);
    const int64_t wanted = depthwise_is_crowded(channels) ? kCopiedStrips : kStrips;
    const int64_t enough = div_up(wanted, std::max<int64_t>(planes, 1));
    pairs = std::max<int64_t>(1, std::min(kStripFloats / std::max<int64_t>(2 * row_floats, 1), all / enough));
    count = div_up(all, pairs);
  }
  /// Calls f(plane, first row, rows) for the pairs of a task.
  template <class F>
  void each(int64_t task, F&& f) const {
    const int64_t plane = task / count, first = task % count * 2 * pairs;
    for (int64_t row = first; row < std::min(height, first + 2 * pairs); row += 2)
      f(plane, row, std::min<int64_t>(2, height - row));
  }
};

DepthwiseRows rows_of(const ConvProblem& p, const DepthwiseScratch& s, const DepthwiseLines& source) {
  DepthwiseRows d{};
  d.lines = s.rows;
  d.line_step = source.step;
  d.extent = source.gather.axis[2].extent;
  d.channels = p.C;
  d.low = -INFINITY;
  d.high = INFINITY;
  d.channel_block = std::max<int64_t>(64, kFilterFloats / p.taps() / 64 * 64);
  return d;
}

/// The lines that rows h .. h + rows - 1 of y read, with their filter rows.
int64_t forward_lines(const ConvProblem& p, const DepthwiseSpace& space, const DepthwiseLines& x, int64_t n,
                      int64_t d, int64_t h, int64_t rows, const DepthwiseScratch& s) {
  const int64_t reach = (p.filter[1] - 1) * p.dilation[1] + 1 + (rows - 1) * p.stride[1];
  int64_t count = 0;
  for (int64_t t = 0; t < p.filter[0]; ++t) {
    const int64_t id = conv_input_index(d, t, p.stride[0], p.dilation[0], p.pad_low[0], p.in[0], p.pad_mode);
    for (int64_t i = 0; id >= 0 && i < reach; ++i) {
      DepthwiseLine line{};
      for (int64_t o = 0; o < rows; ++o) {
        const int64_t u = i - o * p.stride[1];
        if (u >= 0 && u % p.dilation[1] == 0 && u / p.dilation[1] < p.filter[1])
          line.filter[o] = space.filters + (t * p.filter[1] + u / p.dilation[1]) * p.filter[2] * p.C;
      }
      const int64_t ih = conv_input_index(h, i, p.stride[1], 1, p.pad_low[1], p.in[1], p.pad_mode);
      if (ih < 0 || (!line.filter[0] && !line.filter[1])) continue;
      line.pixels = x.line(n, id, ih, s, s.place(t, ih, count), 0, p.C);
      // The rows after these read `step` lines further, of which the last ones are new.
      const int64_t step = rows * p.stride[1];
      if (s.ahead && x.in_place && i >= reach - step && ih + step < p.in[1])
        line.ahead = step * x.volume.axis[1];
      s.rows[count++] = line;
    }
  }
  return count;
}

/// The lines of dy that reach rows h .. h + rows - 1 of dx; `filter` is the first filter row.
int64_t backward_lines(const ConvProblem& p, const DepthwiseSpace& space, const DepthwiseLines& dy, int64_t n,
                       int64_t d, int64_t h, int64_t rows, const DepthwiseScratch& s) {
  const int64_t reach = (p.filter[1] - 1) * p.dilation[1];
  const int64_t low = std::max<int64_t>(0, h + p.pad_low[1] - reach) / p.stride[1];
  const int64_t high = std::min(p.out[1] - 1, (h + rows - 1 + p.pad_low[1]) / p.stride[1]);
  int64_t count = 0;
  for (int64_t t = 0; t < p.filter[0]; ++t) {
    const int64_t od = d + p.pad_low[0] - t * p.dilation[0];
    if (od < 0 || od % p.stride[0] != 0 || od / p.stride[0] >= p.out[0]) continue;
    for (int64_t oh = low; oh <= high; ++oh) {
      DepthwiseLine line{};
      for (int64_t o = 0; o < rows; ++o) {
        const int64_t u = h + o + p.pad_low[1] - oh * p.stride[1];
        if (u >= 0 && u % p.dilation[1] == 0 && u / p.dilation[1] < p.filter[1])
          line.filter[o] = space.filters + (t * p.filter[1] + u / p.dilation[1]) * p.filter[2] * p.C;
      }
      if (!line.filter[0] && !line.filter[1]) continue;
      line.pixels = dy.line(n, od / p.stride[0], oh, s, s.place(t, oh, count), 0, p.C);
      const int64_t step = std::max<int64_t>(1, 2 / p.stride[1]);
      if (s.ahead && dy.in_place && oh > high - step && oh + step < p.out[1])
        line.ahead = step * dy.volume.axis[1];
      s.rows[count++] = line;
    }
  }
  return count;
}

struct Forward {
  const ConvArgs& args;
  const ConvProblem& p;
  const DepthwiseSpace& space;
  const DepthwiseLines& x;
  const Volume y, residual;

  void pair(int64_t plane, int64_t h, int64_t rows, int slot) const {
    const int64_t n = plane / p.out[0], d = plane % p.out[0];
    const DepthwiseScratch s(p, space, slot);
    DepthwiseRows k = rows_of(p, s, x);
    k.line_count = forward_lines(p, space, x, n, d, h, rows, s);
    k.first = -p.pad_low[2];
    k.filter_step = p.C;
    k.pixels = p.out[2];
    const bool finish = p.epilogue.residual;  // else the kernel does it
    if (!finish) {
      k.scale = p.epilogue.scale ? space.scale : nullptr;
      k.bias = p.epilogue.bias ? space.bias : nullptr;
      k.low = p.epilogue.low();
      k.high = p.epilogue.high();
    }
    const DepthwiseOut first(y, n, d, h, p.K, s.out);
    const DepthwiseOut second(y, n, d, h + rows - 1, p.K, s.out + p.out[2] * p.K);
    k.out[0] = first.pixels;
    k.out[1] = rows > 1 ? second.pixels : nullptr;
    k.out_step = first.step;
    if (s.ahead && first.in_place && h + 2 * rows <= p.out[1]) k.out_ahead = rows * y.axis[1];
    kernels().depthwise.rows[p.stride[2] - 1][p.filter[2] - 1](&k);
    for (int64_t o = 0; o < rows; ++o) {
      if (finish)
        for (int64_t q = 0; q < p.out[2]; ++q)
          depthwise_finish(
              args, residual, space,
              n * residual.batch + d * residual.axis[0] + (h + o) * residual.axis[1] + q * residual.axis[2],
              k.out[o] + q * k.out_step);
      (o ? second : first).store(p.out[2], p.K);
    }
  }
};

void run_forward(const ConvArgs& args, const DepthwiseSpace& space) {
  const ConvProblem& p = *args.problem;
  const bool plain = depthwise_rows_are_plain(p);
  DepthwiseLines x(volume(args.x), p.in, p.C, depthwise_crowd(p));
  x.add_prologue(args, space.vectors);
  const Forward work{args, p, space, x, volume(args.y), volume(args.residual)};
  if (p.epilogue.bias) conv_copy_vector(args.bias, p.K, space.bias);
  if (p.epilogue.scale) conv_copy_vector(args.filter_scale, p.K, space.scale);
  if (!args.filters_filled) depthwise_pack_filters(p, volume(args.w), space.filters);
  if (!plain)
    return parallel_for(
        p.N * p.out[0] * p.out[1],
        [&](int64_t row, int slot) {
          depthwise_forward_row(args, space, x, work.y, work.residual, row, slot);
        },
        args.threads);
  const Strips strips(p.N * p.out[0], p.out[1], p.out[2], p.K);
  parallel_for(
      p.N * p.out[0] * strips.count,
      [&](int64_t task, int slot) {
        DepthwiseScratch(p, space, slot).forget();
        strips.each(task, [&](int64_t plane, int64_t h, int64_t rows) { work.pair(plane, h, rows, slot); });
      },
      args.threads);
}

/// Two rows of dx of a zero-padded problem, the classes of columns one after the other.
void backward_input_pair(const ConvProblem& p, const DepthwiseSpace& space, const DepthwiseLines& dy,
                         const Volume& dx, int64_t plane, int64_t h, int64_t rows, int slot) {
  const int64_t n = plane / p.in[0], d = plane % p.in[0];
  const DepthwiseScratch s(p, space, slot);
  DepthwiseRows k = rows_of(p, s, dy);
  k.line_count = backward_lines(p, space, dy, n, d, h, rows, s);
  const DepthwiseOut first(dx, n, d, h, p.C, s.out);
  const DepthwiseOut second(dx, n, d, h + rows - 1, p.C, s.out + p.in[2] * p.C);
  k.out_step = p.stride[2] * first.step;
  if (s.ahead && first.in_place && h + 2 * rows <= p.in[1]) k.out_ahead = rows * dx.axis[1];
  const int64_t lines = k.line_count;
  int64_t tap_before = 0;
  for (int64_t index = 0; index < conv_phases(p, 2); ++index) {
    const ConvPhase phase = conv_phase(p, 2, index);
    for (int64_t l = 0; l < lines; ++l)
      for (const float*& filter : s.rows[l].filter)
        if (filter) filter += (phase.tap_first - tap_before) * p.C;
    tap_before = phase.tap_first;
    k.line_count = phase.taps ? lines : 0;  // no taps: zeros
    k.first = phase.offset;
    k.filter_step = -phase.tap_down * p.C;
    k.pixels = phase.count;
    k.out[0] = first.pixels + phase.first * first.step;
    k.out[1] = rows > 1 ? second.pixels + phase.first * first.step : nullptr;
    kernels().depthwise.rows[0][std::max<int64_t>(phase.taps, 1) - 1](&k);
  }
  first.store(p.in[2], p.C);
  if (rows > 1) second.store(p.in[2], p.C);
}

void run_backward_input(const ConvArgs& args, const DepthwiseSpace& space) {
  const ConvProblem& p = *args.problem;
  const bool fold = conv_needs_fold(p);
  const ConvProblem inner = fold ? conv_with_padding_inside(p) : p;
  const bool plain = p.filter[2] <= kDepthwiseTaps && (p.dilation[2] == 1 || p.filter[2] == 1);
  const DepthwiseLines dy(volume(args.y), p.out, p.C, plain ? kCrowdedFloats : 0);
  const Volume dx = volume(args.x), target = fold ? channels_last_volume(space.padded, inner.in, p.C) : dx;
  depthwise_pack_filters(p, volume(args.w), space.filters);
  if (plain) {
    const Strips strips(p.N * inner.in[0], inner.in[1], inner.in[2], p.C);
    parallel_for(
        p.N * inner.in[0] * strips.count,
        [&](int64_t task, int slot) {
          DepthwiseScratch(inner, space, slot).forget();
          strips.each(task, [&](int64_t plane, int64_t h, int64_t rows) {
            backward_input_pair(inner, space, dy, target, plane, h, rows, slot);
          });
        },
        args.threads);
  } else {
    parallel_for(
        p.N * inner.in[0] * inner.in[1],
        [&](int64_t row, int slot) { depthwise_backward_input_row(inner, space, dy, target, row, slot); },
        args.threads);
  }
  if (fold) conv_fold_padding(p, target, dx, args.threads);
}

}  // namespace

void depthwise_pack_filters(const ConvProblem& p, const Volume& w, float* dst) {
  for (int64_t t = 0; t < p.filter[0]; ++t)
    for (int64_t r = 0; r < p.filter[1]; ++r)
      for (int64_t s = 0; s < p.filter[2]; ++s, dst += p.C) {
        const float* source = w.data + t * w.axis[0] + r * w.axis[1] + s * w.axis[2];
        for (int64_t c = 0; c < p.C; ++c) dst[c] = source[c * w.batch];
      }
}

const char* conv_depthwise_unsupported(const ConvProblem& p, Pass, const DeviceProps&) {
  if (p.dtype != DType::float32) return "float32 only";
  if (p.channels_per_group() != 1 || p.filters_per_group() != 1) return "needs groups == channels == filters";
  return nullptr;
}

size_t conv_depthwise_workspace_bytes(const ConvProblem& p, Pass pass, const DeviceProps& props) {
  return DepthwiseSpace(p, pass, props.threads, nullptr, nullptr).bytes;
}

ConvFilters conv_depthwise_filters(const ConvProblem& p, Pass pass) {
  if (pass != Pass::forward) return {};
  FloatArena arena(nullptr);
  arena.take(p.taps() * p.C);
  return {arena.bytes(), 0};
}

double conv_depthwise_cost(const ConvProblem& p, Pass, const DeviceProps& props) {
  // Multiply-adds at the rate of 7x7 layers, where they bound it, and the tensors once, partly at the same time.
  const double lanes = props.isa == "avx512" ? 16 : props.isa == "avx2" ? 8 : 4;
  const double waste = std::ceil(double(p.C) / lanes) * lanes / double(std::max<int64_t>(p.C, 1));
  const double bytes = 4.0 * double(p.N) * double(p.C) * double(p.in_pixels() + p.out_pixels());
  return 3.0 + (p.flops() * waste / (6 * lanes) + bytes / 40) / 1e3;
}

void conv_depthwise_run(const ConvArgs& args, Pass pass, void*) {
  const DepthwiseSpace space(*args.problem, pass, args.threads, args.filters, args.workspace);
  switch (pass) {
    case Pass::forward: return run_forward(args, space);
    case Pass::backward_input: return run_backward_input(args, space);
    default: return depthwise_backward_weight(args, space);
  }
}

}  // namespace fastcnn::cpu
