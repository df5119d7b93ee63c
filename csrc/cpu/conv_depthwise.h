// The parts of the depthwise convolution: conv_depthwise.cpp (rows of outputs, two at a time), conv_depthwise_weight.cpp
// (gradient of the filters), conv_depthwise_any.cpp (rows of outputs for any geometry, tap by tap).
#pragma once

#include <algorithm>

#include "common/algo.h"
#include "cpu/conv_im2col.h"
#include "cpu/isa.h"

namespace fastcnn::cpu {

/// Workspace: filters and vectors, partial sums, and for each thread lists of lines and lines gathered from elsewhere.
struct DepthwiseSpace {
  float *filters, *vectors, *scale, *bias, *padded, *partial, *scratch;
  size_t list_floats, line_floats, out_floats, scratch_floats, bytes;
  /// With `kept`, filters lie there.
  DepthwiseSpace(const ConvProblem& p, Pass pass, int threads, void* kept, void* base) {
    FloatArena arena(base);
    const bool fold = pass == Pass::backward_input && conv_needs_fold(p);
    const ConvProblem inner = fold ? conv_with_padding_inside(p) : p;
    filters = static_cast<float*>(kept);
    if (!kept) filters = arena.take(pass == Pass::backward_weight ? 0 : p.taps() * p.C);
    vectors = arena.take(p.prologue.scale_shift ? 2 * p.C : 0);
    scale = arena.take(p.epilogue.scale ? p.K : 0);
    bias = arena.take(p.epilogue.bias ? p.K : 0);
    padded = arena.take(fold ? p.N * inner.in_pixels() * p.C : 0);
    partial = arena.take(pass == Pass::backward_weight ? splits(p) * p.taps() * p.C : 0);
    const bool rows = pass != Pass::backward_weight;
    list_floats = (2 * p.taps() + lines(p)) * sizeof(float*) / sizeof(float) +
                  lines(p) * sizeof(DepthwiseLine) / sizeof(float);
    const int64_t widest = pass == Pass::backward_input ? p.out[2] : p.in[2];
    line_floats = lines(p) * widest * p.C;
    out_floats = (rows ? 2 : 1) * std::max(p.out[2], inner.in[2]) * p.C;
    scratch_floats = (list_floats + line_floats + out_floats + 15) / 16 * 16;
    scratch = arena.take(threads * scratch_floats);
    bytes = arena.bytes();
  }
  /// Lines that two neighbouring rows of outputs read, at most.
  static int64_t lines(const ConvProblem& p) {
    return p.filter[0] * std::min(2 * p.filter[1],
                                  (p.filter[1] - 1) * p.dilation[1] + 1 + std::max(p.stride[1], int64_t(1)));
  }
  /// Partial sums of backward_weight: a function of the problem. Each is worth a few hundred pixels.
  static int64_t splits(const ConvProblem& p) {
    const int64_t rows = p.N * p.out[0] * p.out[1];
    return std::max<int64_t>(1, std::min({int64_t(32), rows, rows * p.out[2] / 256}));
  }
};

/// Whether lines come from memory rather than from a cache: the next ones are then fetched ahead, at some cost.
inline bool depthwise_from_memory(const ConvProblem& p) {
  constexpr int64_t kCacheFloats = int64_t(2) << 20;
  return p.N * p.C * (p.in_pixels() + p.out_pixels()) > kCacheFloats;
}

/// One thread's view of its scratch.
struct DepthwiseScratch {
  DepthwiseLine* rows;
  const float **source, **filter, **line;
  float *lines, *out;
  bool ahead;  // fetch lines before they are wanted
  DepthwiseScratch(const ConvProblem& p, const DepthwiseSpace& space, int slot) {
    float* base = space.scratch + slot * space.scratch_floats;
    rows = reinterpret_cast<DepthwiseLine*>(base);
    source = reinterpret_cast<const float**>(rows + DepthwiseSpace::lines(p));
    filter = source + p.taps();
    line = filter + p.taps();
    lines = base + space.list_floats;
    out = lines + space.line_floats;
    ahead = depthwise_from_memory(p);
  }
};

/// A tensor read line by line: in place where channels are innermost, else through scratch.
struct DepthwiseLines {
  Volume volume;
  Gather gather;  // row per pixel, one tap
  bool in_place;
  int64_t step;  // between pixels of a line
  DepthwiseLines(const Volume& v, const int64_t (&extent)[3], int64_t channels) : volume(v), gather{} {
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

/// The line of x that filter row (t, r) reads for row (d, h) of the outputs; nullptr in zero padding.
inline const float* depthwise_source_line(const ConvProblem& p, const DepthwiseLines& x, int64_t n, int64_t d,
                                          int64_t h, int64_t t, int64_t r, float* scratch) {
  const int64_t id = conv_input_index(d, t, p.stride[0], p.dilation[0], p.pad_low[0], p.in[0], p.pad_mode);
  const int64_t ih = conv_input_index(h, r, p.stride[1], p.dilation[1], p.pad_low[1], p.in[1], p.pad_mode);
  return id < 0 || ih < 0 ? nullptr : x.line(n, id, ih, scratch);
}

/// Pixels of a row in the memory of its tensor, or staged where channels are not innermost there.
struct DepthwiseOut {
  float *target, *pixels;
  int64_t step;
  bool in_place;
  const Volume& v;
  DepthwiseOut(const Volume& volume, int64_t n, int64_t d, int64_t h, int64_t channels, float* staging)
      : v(volume) {
    target = v.data + n * v.batch + d * v.axis[0] + h * v.axis[1];
    in_place = v.channel == 1 || channels == 1;
    pixels = in_place ? target : staging;
    step = in_place ? v.axis[2] : channels;
  }
  void store(int64_t width, int64_t channels) const {
    if (in_place) return;
    for (int64_t i = 0; i < width; ++i)
      for (int64_t c = 0; c < channels; ++c) target[i * v.axis[2] + c * v.channel] = pixels[i * step + c];
  }
};

/// Positions i with 0 <= i * step + at < extent, clipped to 0 .. count.
inline void inside_range(int64_t at, int64_t step, int64_t extent, int64_t count, int64_t* first,
                         int64_t* last) {
  *first = std::min(count, at >= 0 ? 0 : (-at + step - 1) / step);
  *last = std::max(*first, std::min(count, at >= extent ? 0 : (extent - 1 - at) / step + 1));
}

/// w as [tap][channel].
void depthwise_pack_filters(const ConvProblem& p, const Volume& w, float* dst);

/// The epilogue on one pixel.
void depthwise_finish(const ConvArgs& args, const Volume& residual, const DepthwiseSpace& space,
                      int64_t residual_at, float* y);

/// One row of y, or of dx of a zero-padded problem: any geometry, tap by tap.
void depthwise_forward_row(const ConvArgs& args, const DepthwiseSpace& space, const DepthwiseLines& x,
                           const Volume& y, const Volume& residual, int64_t row, int slot);
void depthwise_backward_input_row(const ConvProblem& p, const DepthwiseSpace& space, const DepthwiseLines& dy,
                                  const Volume& dx, int64_t row, int slot);

void depthwise_backward_weight(const ConvArgs& args, const DepthwiseSpace& space);

/// Whether rows of x can go through the fast kernels: a filter row is up to kDepthwiseTaps neighbours.
inline bool depthwise_rows_are_plain(const ConvProblem& p) {
  const bool padded = p.pad_low[2] > 0 || p.pad_high[2] > 0;
  return p.filter[2] <= kDepthwiseTaps && p.stride[2] <= kDepthwiseStrides &&
         (p.dilation[2] == 1 || p.filter[2] == 1) && (p.pad_mode == PadMode::zeros || !padded);
}

}  // namespace fastcnn::cpu
