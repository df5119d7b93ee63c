// Depthwise convolution: every channel has its own filter. Lanes are channels; a task is one row of output
// pixels, for which the taps' sources are a list of pointers. Lines whose channels are not innermost in memory,
// or that have a prologue, are first gathered into scratch.
//
//   forward         y[q, c]    = sum over taps of x line [q * stride + s * dilation - pad, c] * w[tap, c]
//   backward_input  dx[i, c]   = sum over the taps that reach i of dy line [.., c] * w[tap, c], one residue class
//                                of the stride after the other, so that neighbours in a class read neighbours
//   backward_weight dw[tap, c] = sum over rows of sum over q of dy * x; rows are dealt to a fixed number of
//                                partial sums, added in order
#include <algorithm>
#include <cmath>
#include <cstring>

#include "cpu/conv_algos.h"
#include "cpu/conv_im2col.h"
#include "cpu/isa.h"
#include "cpu/thread_pool.h"

namespace fastcnn::cpu {
namespace {

constexpr int64_t kSplits = 32;  // partial sums of backward_weight

int64_t div_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

/// Scratch of one thread: lists of pointers, and lines gathered from elsewhere.
struct Space {
  float *filters, *vectors, *bias, *padded, *partial, *scratch;
  size_t pointer_floats, line_floats, out_floats, scratch_floats, bytes;
  Space(const ConvProblem& p, Pass pass, int threads, void* base) {
    FloatArena arena(base);
    const int64_t lines = p.filter[0] * p.filter[1];
    const bool fold = pass == Pass::backward_input && conv_needs_fold(p);
    const ConvProblem inner = fold ? conv_with_padding_inside(p) : p;
    filters = arena.take(pass == Pass::backward_weight ? 0 : p.taps() * p.C);
    vectors = arena.take(p.prologue.scale_shift ? 2 * p.C : 0);
    bias = arena.take(p.epilogue.bias ? p.K : 0);
    padded = arena.take(fold ? p.N * inner.in_pixels() * p.C : 0);
    partial = arena.take(pass == Pass::backward_weight ? splits(p) * p.taps() * p.C : 0);
    // Two lists of `taps` pointers and one of `lines`.
    pointer_floats = (2 * p.taps() + lines) * sizeof(float*) / sizeof(float);
    const int64_t widest = pass == Pass::backward_input ? p.out[2] : p.in[2];
    line_floats = lines * widest * p.C;
    out_floats = std::max(p.out[2], inner.in[2]) * p.C;
    scratch_floats = (pointer_floats + line_floats + out_floats + 15) / 16 * 16;
    scratch = arena.take(threads * scratch_floats);
    bytes = arena.bytes();
  }
  static int64_t splits(const ConvProblem& p) {
    return std::max<int64_t>(1, std::min(kSplits, p.N * p.out[0] * p.out[1]));
  }
};

/// One thread's view of its scratch.
struct Scratch {
  const float **source, **filter, **line;
  float *lines, *out;
  Scratch(const ConvProblem& p, const Space& space, int slot) {
    float* base = space.scratch + slot * space.scratch_floats;
    source = reinterpret_cast<const float**>(base);
    filter = source + p.taps();
    line = filter + p.taps();
    lines = base + space.pointer_floats;
    out = lines + space.line_floats;
  }
};

/// A tensor read line by line: in place where channels are innermost, else through scratch.
struct Lines {
  Volume volume;
  Gather gather;  // row per pixel, one tap
  bool in_place;
  int64_t step;  // between pixels of a line
  Lines(const Volume& v, const int64_t (&extent)[3], int64_t channels) : volume(v), gather{} {
    gather.source = v.data;
    gather.batch_stride = v.batch;
    gather.channels = channels;
    gather.channel_stride = channels == 1 ? 1 : v.channel;
    for (int a = 0; a < 3; ++a) gather.axis[a] = {extent[a], v.axis[a], extent[a], 1, 1, 0, 1};
    in_place = gather.channel_stride == 1;
    step = in_place ? v.axis[2] : channels;
  }
  void add_prologue(const ConvArgs& args, float* vectors) {
    conv_set_prologue(args, vectors, &gather);
    in_place = in_place && args.problem->prologue.empty();
    step = in_place ? volume.axis[2] : gather.channels;
  }
  const float* line(int64_t n, int64_t d, int64_t h, float* scratch) const {
    if (in_place) return volume.data + n * volume.batch + d * volume.axis[0] + h * volume.axis[1];
    const int64_t width = gather.axis[2].outs;
    const int64_t row = ((n * gather.axis[0].outs + d) * gather.axis[1].outs + h) * width;
    kernels().gather.rows(&gather, row, width, 0, gather.channels, scratch, gather.channels);
    return scratch;
  }
};

/// w as [tap][channel].
void pack_filters(const ConvProblem& p, const Volume& w, float* dst) {
  for (int64_t t = 0; t < p.filter[0]; ++t)
    for (int64_t r = 0; r < p.filter[1]; ++r)
      for (int64_t s = 0; s < p.filter[2]; ++s, dst += p.C) {
        const float* source = w.data + t * w.axis[0] + r * w.axis[1] + s * w.axis[2];
        for (int64_t c = 0; c < p.C; ++c) dst[c] = source[c * w.batch];
      }
}

void finish_pixel(const ConvArgs& args, const Volume& residual, const float* bias, int64_t residual_at,
                  float* y) {
  const ConvProblem& p = *args.problem;
  if (p.epilogue.bias)
    for (int64_t k = 0; k < p.K; ++k) y[k] += bias[k];
  if (p.epilogue.residual)
    for (int64_t k = 0; k < p.K; ++k) y[k] += residual.data[residual_at + k * residual.channel];
  if (p.epilogue.activation == Unary::relu)
    for (int64_t k = 0; k < p.K; ++k) y[k] = y[k] < 0.0f ? 0.0f : y[k];
}

/// Pixels of a row in the memory of its tensor, or staged where channels are not innermost there.
struct OutRow {
  float *target, *pixels;
  int64_t step;
  const Volume& v;
  OutRow(const Volume& volume, int64_t n, int64_t d, int64_t h, int64_t channels, float* staging)
      : v(volume) {
    target = v.data + n * v.batch + d * v.axis[0] + h * v.axis[1];
    const bool in_place = v.channel == 1 || channels == 1;
    pixels = in_place ? target : staging;
    step = in_place ? v.axis[2] : channels;
  }
  void store(int64_t width, int64_t channels) const {
    if (pixels == target) return;
    for (int64_t i = 0; i < width; ++i)
      for (int64_t c = 0; c < channels; ++c) target[i * v.axis[2] + c * v.channel] = pixels[i * step + c];
  }
};

/// Positions i with 0 <= i * step + at < extent, clipped to 0 .. count.
void inside_range(int64_t at, int64_t step, int64_t extent, int64_t count, int64_t* first, int64_t* last) {
  *first = std::min(count, at >= 0 ? 0 : div_up(-at, step));
  *last = std::max(*first, std::min(count, at >= extent ? 0 : (extent - 1 - at) / step + 1));
}

void forward_row(const ConvArgs& args, const Space& space, const Lines& x, const Volume& y,
                 const Volume& residual, int64_t task, int slot) {
  const ConvProblem& p = *args.problem;
  const Kernels& isa = kernels();
  const int64_t h = task % p.out[1], d = task / p.out[1] % p.out[0], n = task / p.out[1] / p.out[0];
  Scratch s(p, space, slot);
  for (int64_t t = 0; t < p.filter[0]; ++t)
    for (int64_t r = 0; r < p.filter[1]; ++r) {
      const int64_t id =
          conv_input_index(d, t, p.stride[0], p.dilation[0], p.pad_low[0], p.in[0], p.pad_mode);
      const int64_t ih =
          conv_input_index(h, r, p.stride[1], p.dilation[1], p.pad_low[1], p.in[1], p.pad_mode);
      const int64_t i = t * p.filter[1] + r;
      s.line[i] = id < 0 || ih < 0 ? nullptr : x.line(n, id, ih, s.lines + i * p.in[2] * p.C);
    }
  const OutRow out(y, n, d, h, p.K, s.out);
  DepthwiseRow row{s.source, s.filter, 0, p.stride[2] * x.step, nullptr, out.step, 0, p.C};
  // Output columns whose taps are all inside go together, the others one by one.
  int64_t from = 0, to = p.out[2], a, b;
  for (int64_t tap = 0; tap < p.filter[2]; ++tap) {
    inside_range(tap * p.dilation[2] - p.pad_low[2], p.stride[2], p.in[2], p.out[2], &a, &b);
    from = std::max(from, a);
    to = std::min(to, b);
  }
  for (int64_t q = 0; q < p.out[2];) {
    const bool whole = q >= from && q < to;
    row.taps = 0;
    for (int64_t i = 0; i < p.filter[0] * p.filter[1]; ++i)
      for (int64_t tap = 0; s.line[i] && tap < p.filter[2]; ++tap) {
        const int64_t iw =
            conv_input_index(q, tap, p.stride[2], p.dilation[2], p.pad_low[2], p.in[2], p.pad_mode);
        if (iw < 0) continue;
        s.source[row.taps] = s.line[i] + iw * x.step;
        s.filter[row.taps++] = space.filters + (i * p.filter[2] + tap) * p.C;
      }
    row.pixels = whole ? to - q : 1;
    row.out = out.pixels + q * out.step;
    isa.depthwise.row(&row);
    q += row.pixels;
  }
  if (!p.epilogue.empty())
    for (int64_t q = 0; q < p.out[2]; ++q)
      finish_pixel(args, residual, space.bias,
                   n * residual.batch + d * residual.axis[0] + h * residual.axis[1] + q * residual.axis[2],
                   out.pixels + q * out.step);
  out.store(p.out[2], p.K);
}

/// One row of dx of a zero-padded problem.
void backward_input_row(const ConvProblem& p, const Space& space, const Lines& dy, const Volume& dx,
                        int64_t task, int slot) {
  const Kernels& isa = kernels();
  const int64_t h = task % p.in[1], d = task / p.in[1] % p.in[0], n = task / p.in[1] / p.in[0];
  Scratch s(p, space, slot);
  for (int64_t t = 0; t < p.filter[0]; ++t)
    for (int64_t r = 0; r < p.filter[1]; ++r) {
      const int64_t od = d + p.pad_low[0] - t * p.dilation[0], oh = h + p.pad_low[1] - r * p.dilation[1];
      const int64_t i = t * p.filter[1] + r;
      const bool hit = od >= 0 && oh >= 0 && od % p.stride[0] == 0 && oh % p.stride[1] == 0 &&
                       od / p.stride[0] < p.out[0] && oh / p.stride[1] < p.out[1];
      s.line[i] =
          hit ? dy.line(n, od / p.stride[0], oh / p.stride[1], s.lines + i * p.out[2] * p.C) : nullptr;
    }
  const OutRow out(dx, n, d, h, p.C, s.out);
  for (int64_t index = 0; index < conv_phases(p, 2); ++index) {
    const ConvPhase phase = conv_phase(p, 2, index);
    DepthwiseRow row{s.source, s.filter, 0, dy.step, nullptr, p.stride[2] * out.step, 0, p.C};
    int64_t from = 0, to = phase.count, a, b;
    for (int64_t j = 0; j < phase.taps; ++j) {
      inside_range(phase.offset + j * phase.tap_step, 1, p.out[2], phase.count, &a, &b);
      from = std::max(from, a);
      to = std::min(to, b);
    }
    for (int64_t i = 0; i < phase.count;) {
      const bool whole = i >= from && i < to;
      row.taps = 0;
      for (int64_t l = 0; l < p.filter[0] * p.filter[1]; ++l)
        for (int64_t j = 0; s.line[l] && j < phase.taps; ++j) {
          const int64_t q = i + phase.offset + j * phase.tap_step;
          if (q < 0 || q >= p.out[2]) continue;
          s.source[row.taps] = s.line[l] + q * dy.step;
          s.filter[row.taps++] =
              space.filters + (l * p.filter[2] + phase.tap_first - j * phase.tap_down) * p.C;
        }
      row.pixels = whole ? to - i : 1;
      row.out = out.pixels + (phase.first + i * p.stride[2]) * out.step;
      isa.depthwise.row(&row);
      i += row.pixels;
    }
  }
  out.store(p.in[2], p.C);
}

/// Adds one row of output pixels to the sums [tap][channel].
void backward_weight_row(const ConvProblem& p, const Lines& x, const Lines& dy, int64_t task,
                         const Scratch& s, float* sums) {
  const Kernels& isa = kernels();
  const int64_t h = task % p.out[1], d = task / p.out[1] % p.out[0], n = task / p.out[1] / p.out[0];
  const float* dy_line = dy.line(n, d, h, s.out);
  for (int64_t t = 0; t < p.filter[0]; ++t)
    for (int64_t r = 0; r < p.filter[1]; ++r) {
      const int64_t id =
          conv_input_index(d, t, p.stride[0], p.dilation[0], p.pad_low[0], p.in[0], p.pad_mode);
      const int64_t ih =
          conv_input_index(h, r, p.stride[1], p.dilation[1], p.pad_low[1], p.in[1], p.pad_mode);
      if (id < 0 || ih < 0) continue;
      const float* x_line = x.line(n, id, ih, s.lines);
      for (int64_t tap = 0; tap < p.filter[2]; ++tap) {
        float* sum = sums + ((t * p.filter[1] + r) * p.filter[2] + tap) * p.C;
        int64_t from, to;
        inside_range(tap * p.dilation[2] - p.pad_low[2], p.stride[2], p.in[2], p.out[2], &from, &to);
        const auto add = [&](int64_t q, int64_t count) {
          const int64_t iw =
              conv_input_index(q, tap, p.stride[2], p.dilation[2], p.pad_low[2], p.in[2], p.pad_mode);
          if (iw >= 0)
            isa.depthwise.weight(x_line + iw * x.step, p.stride[2] * x.step, dy_line + q * dy.step, dy.step,
                                 count, p.C, sum);
        };
        for (int64_t q = 0; q < from; ++q) add(q, 1);
        if (to > from) add(from, to - from);
        for (int64_t q = std::max(from, to); q < p.out[2]; ++q) add(q, 1);
      }
    }
}

void run_forward(const ConvArgs& args, const Space& space) {
  const ConvProblem& p = *args.problem;
  Lines x(volume(args.x), p.in, p.C);
  x.add_prologue(args, space.vectors);
  const Volume y = volume(args.y), residual = volume(args.residual);
  if (p.epilogue.bias) conv_copy_vector(args.bias, p.K, space.bias);
  pack_filters(p, volume(args.w), space.filters);
  parallel_for(
      p.N * p.out[0] * p.out[1],
      [&](int64_t task, int slot) { forward_row(args, space, x, y, residual, task, slot); }, args.threads);
}

void run_backward_input(const ConvArgs& args, const Space& space) {
  const ConvProblem& p = *args.problem;
  const bool fold = conv_needs_fold(p);
  const ConvProblem inner = fold ? conv_with_padding_inside(p) : p;
  const Lines dy(volume(args.y), p.out, p.C);
  const Volume dx = volume(args.x), target = fold ? channels_last_volume(space.padded, inner.in, p.C) : dx;
  pack_filters(p, volume(args.w), space.filters);
  parallel_for(
      p.N * inner.in[0] * inner.in[1],
      [&](int64_t task, int slot) { backward_input_row(inner, space, dy, target, task, slot); },
      args.threads);
  if (fold) conv_fold_padding(p, target, dx, args.threads);
}

void run_backward_weight(const ConvArgs& args, const Space& space) {
  const ConvProblem& p = *args.problem;
  Lines x(volume(args.x), p.in, p.C);
  x.add_prologue(args, space.vectors);
  const Lines dy(volume(args.y), p.out, p.C);
  const Volume dw = volume(args.w);
  const int64_t rows = p.N * p.out[0] * p.out[1], splits = Space::splits(p), sums = p.taps() * p.C;
  parallel_for(
      splits,
      [&](int64_t split, int slot) {
        float* partial = space.partial + split * sums;
        std::fill(partial, partial + sums, 0.0f);
        const Scratch scratch(p, space, slot);
        for (int64_t row = rows * split / splits; row < rows * (split + 1) / splits; ++row)
          backward_weight_row(p, x, dy, row, scratch, partial);
      },
      args.threads);
  for (int64_t split = 1; split < splits; ++split)
    for (int64_t i = 0; i < sums; ++i) space.partial[i] += space.partial[split * sums + i];
  const float* sum = space.partial;
  for (int64_t t = 0; t < p.filter[0]; ++t)
    for (int64_t r = 0; r < p.filter[1]; ++r)
      for (int64_t s = 0; s < p.filter[2]; ++s)
        for (int64_t c = 0; c < p.C; ++c)
          dw.data[c * dw.batch + t * dw.axis[0] + r * dw.axis[1] + s * dw.axis[2]] = *sum++;
}

}  // namespace

const char* conv_depthwise_unsupported(const ConvProblem& p, Pass, const DeviceProps&) {
  if (p.dtype != DType::float32) return "float32 only";
  if (p.channels_per_group() != 1 || p.filters_per_group() != 1) return "needs groups == channels == filters";
  return nullptr;
}

size_t conv_depthwise_workspace_bytes(const ConvProblem& p, Pass pass, const DeviceProps& props) {
  return Space(p, pass, props.threads, nullptr).bytes;
}

double conv_depthwise_cost(const ConvProblem& p, Pass, const DeviceProps& props) {
  // Loads bound it: about two vectors per multiply-add; plus the tensors once.
  const double lanes = props.isa == "avx512" ? 16 : props.isa == "avx2" ? 8 : 4;
  const double waste = std::ceil(double(p.C) / lanes) * lanes / double(std::max<int64_t>(p.C, 1));
  const double bytes = 4.0 * double(p.N) * double(p.C) * double(p.in_pixels() + p.out_pixels());
  return 3.0 + (p.flops() * waste / (1.5 * lanes) + bytes / 8) / (1e3 * std::max(props.threads, 1));
}

void conv_depthwise_run(const ConvArgs& args, Pass pass, void*) {
  const Space space(*args.problem, pass, args.threads, args.workspace);
  switch (pass) {
    case Pass::forward: return run_forward(args, space);
    case Pass::backward_input: return run_backward_input(args, space);
    default: return run_backward_weight(args, space);
  }
}

}  // namespace fastcnn::cpu
