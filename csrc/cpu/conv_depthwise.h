// The parts of the depthwise convolution: conv_depthwise.cpp (rows of outputs, two or four at a time),
// conv_depthwise_input.cpp (gradient of the input, the same way), conv_depthwise_weight.cpp (gradient of the filters),
// conv_depthwise_any.cpp (rows of outputs for any geometry, tap by tap).
#pragma once

#include <algorithm>

#include "common/algo.h"
#include "cpu/conv_im2col.h"
#include "cpu/isa.h"
#include "cpu/stream.h"

namespace fastcnn::cpu {

/// Pixels so far apart, a multiple of this, fall on one or two sets of an L1 cache of 64 sets: their lines drive each
/// other out. Such lines are copied, pixels a cache line further apart.
constexpr int64_t kCrowdedFloats = 512;
/// Pixels a multiple of this apart share a few sets: several at a time drive each other out before the next channels come.
constexpr int64_t kFewSetsFloats = 128;
inline bool depthwise_is_crowded(int64_t step) { return step % kCrowdedFloats == 0; }
/// Floats from one pixel to the next in a copied line.
inline int64_t depthwise_copy_step(int64_t channels) {
  return depthwise_is_crowded(channels) ? channels + 16 : channels;
}

/// How rows of outputs are computed: two at a time whatever the filter; of 3x3 filters also two at a time in the order of
/// memory (at stride 2), or four where the instruction set has the kernel for it. A function of the problem.
enum class DepthwiseWay { pairs, by_pixel, quads };
DepthwiseWay depthwise_way(const ConvProblem& p, Pass pass);
/// nullptr: pairs.
inline DepthwiseQuadFn depthwise_kernel(DepthwiseWay way, int64_t stride) {
  const DepthwiseKernels& k = kernels().depthwise;
  if (way == DepthwiseWay::by_pixel) return k.by_pixel;
  return way == DepthwiseWay::quads ? k.quads[stride - 1] : nullptr;
}

/// Workspace: filters and vectors, partial sums, and for each thread lists of lines and lines gathered from elsewhere.
struct DepthwiseSpace {
  float *filters, *vectors, *scale, *bias, *padded, *partial, *scratch;
  DepthwiseWay way;
  int64_t together;            // rows of outputs
  int64_t lines, plane_lines;  // that those read, at most: of all planes (depth), of one
  size_t list_floats, line_floats, out_floats, scratch_floats, bytes;  // of lists, one copied line, ...
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
    way = depthwise_way(p, pass);
    together = pass == Pass::backward_weight || way == DepthwiseWay::quads ? 4 : 2;
    plane_lines = std::min(together * p.filter[1], (p.filter[1] - 1) * p.dilation[1] + 1 +
                                                       (together - 1) * std::max(p.stride[1], int64_t(1)));
    lines = p.filter[0] * plane_lines;
    list_floats = (2 * p.taps() + lines) * sizeof(float*) / sizeof(float) +
                  lines * (sizeof(DepthwiseLine) + sizeof(int64_t)) / sizeof(float);
    list_floats = (list_floats + 15) / 16 * 16;
    const int64_t widest = pass == Pass::backward_input ? p.out[2] : p.in[2];
    line_floats = widest * depthwise_copy_step(p.C);
    const int64_t rows = pass == Pass::backward_weight ? 1 : together;
    out_floats = rows * std::max(p.out[2], inner.in[2]) * depthwise_copy_step(p.C);
    scratch_floats = (list_floats + lines * line_floats + out_floats + 15) / 16 * 16;
    scratch = arena.take(threads * scratch_floats);
    bytes = arena.bytes();
  }
  /// Partial sums of backward_weight: a function of the problem. Each is worth a few hundred pixels.
  static int64_t splits(const ConvProblem& p) {
    const int64_t rows = p.N * p.out[0] * p.out[1];
    return std::max<int64_t>(1, std::min({int64_t(32), rows, rows * p.out[2] / 256}));
  }
};

/// Whether the next lines are fetched ahead.
inline bool depthwise_from_memory(const ConvProblem& p) {
  return p.N * p.C * (p.in_pixels() + p.out_pixels()) > kFarBytes / int64_t(sizeof(float));
}

/// One thread's view of its scratch.
struct DepthwiseScratch {
  DepthwiseLine* rows;
  int64_t* copied;  // which line of the source a copy is of
  const float **source, **filter, **line;
  float *lines, *out;
  int64_t line_floats, count, plane_count;
  bool ahead;       // fetch lines before they are wanted
  bool neighbours;  // lines that are read together follow each other
  DepthwiseScratch(const ConvProblem& p, const DepthwiseSpace& space, int slot)
      : line_floats(space.line_floats), count(space.lines), plane_count(space.plane_lines) {
    float* base = space.scratch + slot * space.scratch_floats;
    rows = reinterpret_cast<DepthwiseLine*>(base);
    copied = reinterpret_cast<int64_t*>(rows + count);
    source = reinterpret_cast<const float**>(copied + count);
    filter = source + p.taps();
    line = filter + p.taps();
    lines = base + space.list_floats;
    out = lines + count * line_floats;
    ahead = depthwise_from_memory(p);
    const bool padded = p.pad_low[1] > 0 || p.pad_high[1] > 0;
    neighbours =
        p.dilation[1] == 1 && p.stride[1] <= p.filter[1] && (p.pad_mode == PadMode::zeros || !padded);
  }
  /// To be called before lines of another task are copied.
  void forget() const { std::fill_n(copied, count, int64_t(-1)); }
  /// The place of line h of the t-th plane that is read, the i-th line in all: if it can be the same for rows that follow,
  /// it is.
  int64_t place(int64_t t, int64_t h, int64_t i) const {
    return neighbours ? t * plane_count + h % plane_count : i;
  }
  float* at(int64_t place) const { return lines + place * line_floats; }
};

/// A tensor read line by line: in place where channels are innermost, else through scratch.
struct DepthwiseLines {
  Volume volume;
  Gather gather;  // row per pixel, one tap
  bool in_place;
  int64_t step;  // between pixels of a line
  /// Lines are copied if their pixels lie a multiple of `crowd` floats apart; 0: never.
  DepthwiseLines(const Volume& v, const int64_t (&extent)[3], int64_t channels, int64_t crowd)
      : volume(v), gather{} {
    gather.source = v.data;
    gather.batch_stride = v.batch;
    gather.channels = channels;
    gather.channel_stride = channels == 1 ? 1 : v.channel;
    for (int a = 0; a < 3; ++a) gather.axis[a] = {extent[a], v.axis[a], extent[a], 1, 1, 0, 1};
    const bool crowded = crowd > 0 && extent[2] > 1 && v.axis[2] % crowd == 0;
    in_place = gather.channel_stride == 1 && !crowded;
    step = in_place ? v.axis[2] : depthwise_copy_step(channels);
  }
  void add_prologue(const ConvArgs& args, float* vectors) {
    conv_set_prologue(args, vectors, &gather);
    in_place = in_place && args.problem->prologue.empty();
    step = in_place ? volume.axis[2] : depthwise_copy_step(gather.channels);
  }
  /// Channels first .. last - 1 of line h of plane (n, d), where it lies or copied to `to`. Count from channel 0.
  const float* line(int64_t n, int64_t d, int64_t h, float* to, int64_t first, int64_t last) const {
    if (in_place) return in_memory(n, d, h);
    copy(index(n, d, h), first, last, to);
    return to;
  }
  /// The same; a copy that still lies at its place is taken as it is.
  const float* line(int64_t n, int64_t d, int64_t h, const DepthwiseScratch& s, int64_t place, int64_t first,
                    int64_t last) const {
    if (in_place) return in_memory(n, d, h);
    if (s.copied[place] != index(n, d, h)) copy(s.copied[place] = index(n, d, h), first, last, s.at(place));
    return s.at(place);
  }

 private:
  const float* in_memory(int64_t n, int64_t d, int64_t h) const {
    return volume.data + n * volume.batch + d * volume.axis[0] + h * volume.axis[1];
  }
  int64_t index(int64_t n, int64_t d, int64_t h) const {
    return (n * gather.axis[0].outs + d) * gather.axis[1].outs + h;
  }
  void copy(int64_t line, int64_t first, int64_t last, float* to) const {
    const int64_t width = gather.axis[2].outs;
    kernels().gather.rows(&gather, line * width, width, first, last, to + first, step);
  }
};

/// Channels first .. last - 1 of the line of x that filter row (t, r), the i-th in use, reads for row (d, h) of the
/// outputs; nullptr in zero padding.
inline const float* depthwise_source_line(const ConvProblem& p, const DepthwiseLines& x, int64_t n, int64_t d,
                                          int64_t h, int64_t t, int64_t r, int64_t i,
                                          const DepthwiseScratch& s, int64_t first, int64_t last) {
  const int64_t id = conv_input_index(d, t, p.stride[0], p.dilation[0], p.pad_low[0], p.in[0], p.pad_mode);
  const int64_t ih = conv_input_index(h, r, p.stride[1], p.dilation[1], p.pad_low[1], p.in[1], p.pad_mode);
  return id < 0 || ih < 0 ? nullptr : x.line(n, id, ih, s, s.place(t, ih, i), first, last);
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

/// The epilogue on row h of plane (n, d), whose pixels are `row`'s.
void depthwise_finish(const ConvArgs& args, const Volume& residual, const DepthwiseSpace& space, int64_t n,
                      int64_t d, int64_t h, const DepthwiseOut& row);

/// One row of y, or of dx of a zero-padded problem: any geometry, tap by tap.
void depthwise_forward_row(const ConvArgs& args, const DepthwiseSpace& space, const DepthwiseLines& x,
                           const Volume& y, const Volume& residual, int64_t row, int slot);
void depthwise_backward_input_row(const ConvProblem& p, const DepthwiseSpace& space, const DepthwiseLines& dy,
                                  const Volume& dx, int64_t row, int slot);

/// dx of any problem; filters are packed on the way.
void depthwise_backward_input(const ConvArgs& args, const DepthwiseSpace& space);
void depthwise_backward_weight(const ConvArgs& args, const DepthwiseSpace& space);

/// Whether rows of x can go through the fast kernels: a filter row is up to kDepthwiseTaps neighbours.
inline bool depthwise_rows_are_plain(const ConvProblem& p) {
  const bool padded = p.pad_low[2] > 0 || p.pad_high[2] > 0;
  return p.filter[2] <= kDepthwiseTaps && p.stride[2] <= kDepthwiseStrides &&
         (p.dilation[2] == 1 || p.filter[2] == 1) && (p.pad_mode == PadMode::zeros || !padded);
}

/// Such rows of 3x3 filters with one stride, for which there are kernels of their own.
inline bool depthwise_is_square(const ConvProblem& p) {
  return p.filter[0] == 1 && p.filter[1] == 3 && p.filter[2] == 3 && p.dilation[1] == 1 &&
         p.dilation[2] == 1 && p.stride[1] == p.stride[2] && depthwise_rows_are_plain(p);
}

/// For DepthwiseLines of x. Fewer rows read a line where they take strides, so that only the worst are worth a copy.
inline int64_t depthwise_crowd(const ConvProblem& p) {
  return depthwise_rows_are_plain(p) ? kCrowdedFloats * p.stride[1] : 0;
}

}  // namespace fastcnn::cpu
