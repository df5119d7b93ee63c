// Depthwise convolution: every channel has its own filter. Lanes are channels. Lines whose channels are not innermost
// in memory, or that have a prologue, are first gathered into scratch.
//
//   forward         y[q, c]    = sum over taps of x line [q * stride + s * dilation - pad, c] * w[tap, c]
//   backward_input             conv_depthwise_input.cpp
//   backward_weight            conv_depthwise_weight.cpp
//
// Memory bounds it: two rows of outputs are computed together, four where registers allow, so that each line is read for
// all of them while it is near, and a task is a strip of such groups.
#include <cmath>

#include "cpu/conv_algos.h"
#include "cpu/conv_depthwise_strips.h"
#include "cpu/thread_pool.h"

namespace fastcnn::cpu {
namespace {

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

/// Lines for up to four rows of y of a 3x3 filter.
void forward_square_lines(const ConvProblem& p, const DepthwiseLines& x, int64_t n, int64_t d, int64_t h,
                          int64_t rows, const DepthwiseScratch& s, DepthwiseQuad* q) {
  const int64_t stride = p.stride[1], reach = 3 + (rows - 1) * stride, step = rows * stride;
  const int64_t id = conv_input_index(d, 0, p.stride[0], p.dilation[0], p.pad_low[0], p.in[0], p.pad_mode);
  for (int64_t i = 0; id >= 0 && i < reach; ++i) {
    const int64_t ih = conv_input_index(h, i, stride, 1, p.pad_low[1], p.in[1], p.pad_mode);
    if (ih < 0) continue;
    q->line[i] = x.line(n, id, ih, s, s.place(0, ih, i), 0, p.C);
    if (s.ahead && x.in_place && i >= reach - step && ih + step < p.in[1])
      q->ahead[i] = step * x.volume.axis[1];
  }
}

struct Forward {
  const ConvArgs& args;
  const ConvProblem& p;
  const DepthwiseSpace& space;
  const DepthwiseLines& x;
  const Volume y, residual;

  /// What all groups of rows have in common; the kernel finishes unless there is a residual.
  DepthwiseRows common(const DepthwiseScratch& s) const {
    DepthwiseRows k = depthwise_rows_of(p, s, x);
    k.first = -p.pad_low[2];
    k.filter_step = p.C;
    k.pixels = p.out[2];
    if (!p.epilogue.residual) {
      k.scale = p.epilogue.scale ? space.scale : nullptr;
      k.bias = p.epilogue.bias ? space.bias : nullptr;
      k.low = p.epilogue.low();
      k.high = p.epilogue.high();
    }
    return k;
  }
  DepthwiseOut out(int64_t n, int64_t d, int64_t h, int64_t o, const DepthwiseScratch& s) const {
    return DepthwiseOut(y, n, d, h + o, p.K, s.out + o * p.out[2] * p.K);
  }

  /// Rows h .. h + rows - 1 of a plane: by `square`, or two at a time without it.
  void group(int64_t plane, int64_t h, int64_t rows, int slot, DepthwiseQuadFn square) const {
    const int64_t n = plane / p.out[0], d = plane % p.out[0];
    const DepthwiseScratch s(p, space, slot);
    DepthwiseQuad q{};
    DepthwiseRows& k = q.rows = common(s);
    for (int64_t o = 0; o < rows; ++o) (square ? q.out : k.out)[o] = out(n, d, h, o, s).pixels;
    const DepthwiseOut first = out(n, d, h, 0, s);
    k.out_step = first.step;
    if (s.ahead && first.in_place && h + 2 * rows <= p.out[1]) k.out_ahead = rows * y.axis[1];
    if (square) {
      forward_square_lines(p, x, n, d, h, rows, s, &q);
      q.filter = space.filters;
      q.filter_row = 3 * p.C;
      square(&q);
    } else {
      k.line_count = forward_lines(p, space, x, n, d, h, rows, s);
      kernels().depthwise.rows[p.stride[2] - 1][p.filter[2] - 1](&k);
    }
    for (int64_t o = 0; o < rows; ++o) {
      const DepthwiseOut row = out(n, d, h, o, s);
      if (p.epilogue.residual) depthwise_finish(args, residual, space, n, d, h + o, row);
      row.store(p.out[2], p.K);
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
  const DepthwiseQuadFn square = depthwise_kernel(space.way, p.stride[2]);
  const DepthwiseStrips strips(p.N * p.out[0], p.out[1], p.out[2], p.K, square ? space.together : 2);
  parallel_for(
      p.N * p.out[0] * strips.count,
      [&](int64_t task, int slot) {
        DepthwiseScratch(p, space, slot).forget();
        strips.each(
            task, [&](int64_t plane, int64_t h, int64_t rows) { work.group(plane, h, rows, slot, square); });
      },
      args.threads);
}

}  // namespace

DepthwiseWay depthwise_way(const ConvProblem& p, Pass pass) {
  constexpr int64_t kLeastGroups = 4;  // of a batch: few images would leave threads without work
  constexpr int64_t kLongRow = 32;
  const bool forward = pass == Pass::forward;
  const bool square = depthwise_is_square(p) && p.stride[2] <= (forward ? kDepthwiseStrides : 1);
  if (pass == Pass::backward_weight || !square) return DepthwiseWay::pairs;
  const int64_t(&extent)[3] = forward ? p.out : p.in;
  const bool few_sets = p.C % kFewSetsFloats == 0 && p.C % depthwise_crowd(p) != 0;
  if (p.stride[2] == 2 && (few_sets || depthwise_from_memory(p))) return DepthwiseWay::by_pixel;
  if (depthwise_from_memory(p) && extent[2] > kLongRow) return DepthwiseWay::pairs;
  const int64_t groups = p.N * extent[0] * (extent[1] + 3) / 4;
  return groups >= kLeastGroups ? DepthwiseWay::quads : DepthwiseWay::pairs;
}

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
    case Pass::backward_input: return depthwise_backward_input(args, space);
    default: return depthwise_backward_weight(args, space);
  }
}

}  // namespace fastcnn::cpu
