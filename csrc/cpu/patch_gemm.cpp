#include "cpu/patch_gemm.h"

#include <algorithm>
#include <cstring>

#include "cpu/isa.h"
#include "cpu/patch_lines.h"

namespace fastcnn::cpu {
namespace {

constexpr int64_t kBlockRows = 192;
constexpr int64_t kSmallBlockRows = 48;  // where there are few rows, for the sake of more tasks
constexpr int64_t kRowMultiple = 6;      // of a tile's rows
constexpr int64_t kBlockDepth = 256;     // 192 x 256 floats of patches stay in L2 beside a panel of 256 x 64
constexpr int64_t kMaxPanelWidth = 64;   // of every ISA
constexpr int64_t kPartColumns = 256;    // of one task: to gather again for the next 256 costs under 3 %
constexpr int64_t kLongLine = 12, kFewColumns = 32;
constexpr int64_t kCachedFilter = 256 << 10;  // floats
constexpr int64_t kDotLanes = 16;             // of the widest ISA
constexpr int64_t kFewTasks = 16;             // with fewer, parts are half as wide
constexpr int64_t kTaskMultiple = 4;          // so that two or four threads get as many each

int64_t div_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

/// Vectors along the depth, stretch by stretch.
int64_t depth_vectors(const PatchGemm& p) {
  const int64_t taps_w = p.gather.axis[2].taps, joined = p.gather.axis[2].tap_step == 1 ? taps_w : 1;
  const int64_t run = p.gather.channels * joined, segments = p.depth / std::max<int64_t>(run, 1);
  return div_up(run, kDotLanes) * segments;
}

/// Columns that fill less of a vector than the depth does, adding up the lanes included.
bool few_columns(const PatchGemm& p) { return p.columns * (depth_vectors(p) + 8) < p.depth; }

bool patches_are_pixels(const Gather& g) {
  return g.axis[1].taps * g.axis[2].taps == 1 && g.axis[1].step == 1 && g.axis[2].step == 1;
}

/// How the product is cut into tasks; a function of the problem only.
struct Cut {
  PatchLines lines;
  bool narrow;
  int64_t rows, blocks, part_columns, parts;
  explicit Cut(const PatchGemm& p)
      : lines(p.gather, p.rows,
              div_up(kFewTasks, std::max<int64_t>(1, p.groups * div_up(p.columns, kPartColumns)))),
        rows(p.rows) {
    narrow = lines.usable && few_columns(p);
    // Short lines fill wide tiles badly, and filters that leave the L2 cache want many rows at a time.
    const bool long_lines = lines.width >= kLongLine || p.columns <= kFewColumns;
    const bool cached = p.depth * std::min(p.columns, kPartColumns) <= kCachedFilter;
    // Strided pixels are copied once each, which costs less than to pass over panels of several steps' depth for each line.
    const bool deep_pixels = p.gather.axis[1].taps * p.gather.axis[2].taps == 1 && p.depth > kBlockDepth;
    if (patches_are_pixels(p.gather) || !long_lines || !cached || deep_pixels || p.depth == 0)
      lines.usable = narrow;
    if (lines.usable) {
      part_columns = kPartColumns;
      parts = div_up(p.columns, part_columns);
      blocks = lines.images * lines.blocks;
      return;
    }
    const int64_t least = std::min<int64_t>(4, (p.rows + 16) / kSmallBlockRows);
    blocks = std::max(div_up(p.rows, kBlockRows), least);
    const auto tasks = [&](int64_t columns) { return p.groups * blocks * div_up(p.columns, columns); };
    part_columns = tasks(kPartColumns) < kFewTasks ? kPartColumns / 2 : kPartColumns;
    if (tasks(part_columns) < kTaskMultiple) part_columns = kMaxPanelWidth;
    parts = div_up(p.columns, part_columns);
    // All of a size: nine would leave two threads five and four.
    if (p.rows >= 2 * kSmallBlockRows * blocks)
      while (p.groups * parts * blocks % kTaskMultiple) ++blocks;
  }
  /// Where lines are not usable: whole tiles, dealt out evenly. Short last blocks would leave their thread idle.
  int64_t first_row(int64_t block) const {
    return std::min(rows, div_up(rows, kRowMultiple) * block / blocks * kRowMultiple);
  }
};

/// Equal steps of at most kBlockDepth.
int64_t depth_step(int64_t depth) { return div_up(depth, std::max<int64_t>(1, div_up(depth, kBlockDepth))); }

/// The one stride at which all pixels follow each other in memory, or -1. Axes of one element have no say.
int64_t flat_stride(int64_t batch, const int64_t* axis, const GatherAxis* outs, int64_t rows) {
  const int64_t pixels = outs[0].outs * outs[1].outs * outs[2].outs;
  const int64_t extent[4] = {outs[2].outs, outs[1].outs, outs[0].outs, rows / pixels};
  const int64_t stride[4] = {axis[2], axis[1], axis[0], batch};
  int64_t found = 0, next = 0;
  bool any = false;  // an axis of several elements; its stride may be 0 (expanded)
  for (int i = 0; i < 4; ++i) {
    if (extent[i] == 1) continue;
    if (any && stride[i] != next) return -1;
    if (!any) found = stride[i];
    any = true;
    next = stride[i] * extent[i];
  }
  return found;
}

/// Pixels in order, as coordinates of a volume.
class PixelWalk {
 public:
  PixelWalk(const GatherAxis* outs, int64_t row) : outs_(outs) {
    for (int a = 2; a >= 0; --a) {
      at_[a] = row % outs[a].outs;
      row /= outs[a].outs;
    }
    n_ = row;
  }
  int64_t offset(const Volume& v) const {
    return n_ * v.batch + at_[0] * v.axis[0] + at_[1] * v.axis[1] + at_[2] * v.axis[2];
  }
  void next() {
    for (int a = 2; a >= 0; --a) {
      if (++at_[a] < outs_[a].outs) return;
      at_[a] = 0;
    }
    ++n_;
  }

 private:
  const GatherAxis* outs_;
  int64_t n_, at_[3];
};

/// Epilogue of a block that no tile could finish: `values` holds `rows` x `columns`, from pixel `row` and channel `channel` on.
void finish(const PatchGemm& p, int64_t row, int64_t rows, int64_t channel, int64_t columns, float* values,
            int64_t stride) {
  PixelWalk walk(p.gather.axis, row);
  for (int64_t r = 0; r < rows; ++r, values += stride, walk.next()) {
    if (p.scale)
      for (int64_t j = 0; j < columns; ++j)
        values[j] = values[j] * p.scale[channel + j] + p.bias[channel + j];
    else if (p.bias)
      for (int64_t j = 0; j < columns; ++j) values[j] += p.bias[channel + j];
    if (p.residual.data) {
      const float* add = p.residual.data + walk.offset(p.residual) + channel * p.residual.channel;
      if (p.residual.channel == 1)
        for (int64_t j = 0; j < columns; ++j) values[j] += add[j];
      else
        for (int64_t j = 0; j < columns; ++j) values[j] += add[j * p.residual.channel];
    }
    for (int64_t j = 0; j < columns; ++j)
      values[j] = values[j] < p.low ? p.low : values[j] > p.high ? p.high : values[j];
  }
}

/// The epilogue of a tile whose rows lie `residual_row` apart in the residual, which starts at `residual`.
GemmFinish tile_finish(const PatchGemm& p, int64_t channel, const float* residual, int64_t residual_row) {
  return {p.scale ? p.scale + channel : nullptr,
          p.bias ? p.bias + channel : nullptr,
          residual,
          residual_row,
          p.low,
          p.high};
}

/// Staged rows to their places in `out`.
void scatter(const PatchGemm& p, int64_t row, int64_t rows, int64_t channel, int64_t columns,
             const float* values) {
  PixelWalk walk(p.gather.axis, row);
  for (int64_t r = 0; r < rows; ++r, values += columns, walk.next()) {
    float* out = p.out.data + walk.offset(p.out) + channel * p.out.channel;
    if (p.out.channel == 1)
      std::memcpy(out, values, columns * sizeof(float));
    else
      for (int64_t j = 0; j < columns; ++j) out[j * p.out.channel] = values[j];
  }
}

/// Zeros in the place of rows that no product reaches.
void clear(const PatchGemm& p, int64_t row, int64_t rows, int64_t channel, int64_t columns) {
  PixelWalk walk(p.gather.axis, row);
  for (int64_t r = 0; r < rows; ++r, walk.next()) {
    float* out = p.out.data + walk.offset(p.out) + channel * p.out.channel;
    if (p.out.channel == 1)
      std::memset(out, 0, columns * sizeof(float));
    else
      for (int64_t j = 0; j < columns; ++j) out[j * p.out.channel] = 0.0f;
  }
}

/// Stretches of the depth for one output line, window line `line` on; those in zero padding are left out.
int line_segments(const PatchGemm& p, const PatchWindow& window, int64_t out_line, int64_t line,
                  int64_t b_row, GemmSegment* segment) {
  const GatherAxis &h = p.gather.axis[1], &w = p.gather.axis[2];
  const int64_t channels = p.gather.channels;
  int n = 0;
  for (int64_t r = 0; r < h.taps; ++r) {
    const int64_t at = out_line * h.step + h.offset + r * h.tap_step;
    if (p.gather.padding == kPadZeros && (at < 0 || at >= h.extent)) continue;
    const int64_t a = (line + r * h.tap_step) * window.line, b = r * w.taps * channels * b_row;
    if (window.joined) {
      segment[n++] = {a, b};
      continue;
    }
    for (int64_t s = 0; s < w.taps; ++s)
      segment[n++] = {a + s * w.tap_step * window.pixel, b + s * channels * b_row};
  }
  return n;
}

/// One block of output lines.
void line_task(const PatchGemm& p, const Gather& gather, const PatchLines& lines, bool narrow, int64_t block,
               int64_t channel, int64_t columns, const float* filter, float* scratch) {
  const Kernels& isa = kernels();
  const int64_t nr = isa.gemm.nr, image = block / lines.blocks,
                first = block % lines.blocks * lines.block_lines,
                count = std::min(lines.block_lines, lines.height - first);
  const PatchWindow window = patch_window(gather, lines, image, first, count, false, scratch);
  float* staged = scratch + lines.window_floats;
  const bool in_place = p.out.channel == 1;
  const bool in_tiles = p.finishes() && !narrow && (!p.residual.data || p.residual.channel == 1);

  GemmSegment segment[kMaxSegments];
  GemmTile t;
  t.segment = segment;
  t.a_row = gather.axis[2].step * window.pixel;
  t.a_col = 1;
  t.a = window.base;
  t.b_row = narrow ? p.depth : nr;
  t.c_row = in_place ? p.out.axis[2] : columns;
  t.k = gather.channels * (window.joined ? gather.axis[2].taps : 1);
  t.m = static_cast<int>(lines.width);
  t.accumulate = 0;
  for (int64_t i = 0; i < count; ++i) {
    t.segments = line_segments(p, window, first + i, i * gather.axis[1].step, narrow ? 1 : nr, segment);
    const int64_t row = (image * lines.height + first + i) * lines.width;
    float* c = staged;
    if (in_place) c = p.out.data + image * p.out.batch + (first + i) * p.out.axis[1] + channel;
    if (narrow) {
      t.b = filter;
      t.c = c;
      t.n = static_cast<int>(columns);
      isa.gemm.dot(&t);
    } else {
      const float* residual = p.residual.data;
      if (residual) residual += image * p.residual.batch + (first + i) * p.residual.axis[1];
      for (int64_t j = 0; j < columns; j += nr) {
        const GemmFinish last =
            tile_finish(p, channel + j, residual ? residual + channel + j : nullptr, p.residual.axis[2]);
        t.finish = in_tiles ? &last : nullptr;
        t.b = filter + j * p.depth;
        t.c = c + j;
        t.n = static_cast<int>(std::min(nr, columns - j));
        isa.gemm.tile(&t);
      }
    }
    if (p.finishes() && !in_tiles) finish(p, row, lines.width, channel, columns, c, t.c_row);
    if (!in_place) scatter(p, row, lines.width, channel, columns, c);
  }
}

}  // namespace

int64_t gather_plain_stride(const Gather& g, int64_t rows) {
  if (g.channel_stride != 1 || g.scale || g.relu) return -1;
  for (const GatherAxis& a : g.axis)
    if (a.taps != 1 || a.step != 1 || a.offset != 0 || a.outs != a.extent) return -1;
  const int64_t strides[3] = {g.axis[0].stride, g.axis[1].stride, g.axis[2].stride};
  return flat_stride(g.batch_stride, strides, g.axis, rows);
}

size_t packed_filter_floats(int64_t groups, int64_t depth, int64_t columns) {
  return groups * depth * div_up(columns, kMaxPanelWidth) * kMaxPanelWidth;
}

bool patch_gemm_gathers(const PatchGemm& p) { return !Cut(p).lines.usable && !patches_are_pixels(p.gather); }

bool patch_gemm_is_narrow(const PatchGemm& p) { return Cut(p).narrow; }

double patch_gemm_steps(const PatchGemm& p) {
  constexpr int64_t kLaneSums = 5;  // to add up the lanes of an output
  const bool narrow = patch_gemm_is_narrow(p);
  const int64_t of_row =
      narrow ? p.columns * (depth_vectors(p) + kLaneSums) : p.depth * div_up(p.columns, kDotLanes);
  return double(p.groups) * double(p.rows) * double(of_row);
}

void patch_gemm_transpose_filter(const PatchGemm& p, float* transposed) {
  const int64_t nr = kernels().gemm.nr;
  for (int64_t group = 0; group < p.groups; ++group) {
    const size_t offset = packed_filter_floats(group, p.depth, p.columns);
    for (int64_t j = 0; j < p.columns; ++j)
      for (int64_t k = 0; k < p.depth; ++k)
        transposed[offset + j * p.depth + k] = p.filter[offset + j / nr * nr * p.depth + k * nr + j % nr];
  }
}

size_t patch_gemm_scratch_floats(const PatchGemm& p) {
  const PatchLines lines = Cut(p).lines;
  const int64_t columns = std::min(p.columns, kPartColumns);
  if (lines.usable) return lines.window_floats + lines.width * columns;
  return kBlockRows * (std::min(p.depth, kBlockDepth) + columns);
}

int64_t patch_gemm_tasks(const PatchGemm& p) {
  const Cut cut(p);
  return p.groups * cut.blocks * cut.parts;
}

void patch_gemm_task(const PatchGemm& p, int64_t task, float* scratch) {
  const Kernels& isa = kernels();
  const Cut cut(p);
  const int64_t nr = isa.gemm.nr;
  const int64_t group = task / (cut.parts * cut.blocks);
  task %= cut.parts * cut.blocks;
  // Where filters are about as many as patches or more, a thread's tasks are the panels that it has packed, which are in its own caches.
  const bool by_parts = 2 * p.columns > p.rows;
  const int64_t part = by_parts ? task / cut.blocks : task % cut.parts,
                block = by_parts ? task % cut.blocks : task / cut.parts;
  const int64_t first = part * cut.part_columns, columns = std::min(cut.part_columns, p.columns - first);

  Gather gather = p.gather;
  gather.source += group * p.source_group;
  if (gather.scale) gather.scale += group * gather.channels, gather.shift += group * gather.channels;
  const size_t group_filter = packed_filter_floats(group, p.depth, p.columns) + first * p.depth;
  const float* filter = (cut.narrow ? p.narrow_filter : p.filter) + group_filter;
  if (cut.lines.usable)
    return line_task(p, gather, cut.lines, cut.narrow, block, group * p.columns + first, columns, filter,
                     scratch);
  const int64_t row = cut.first_row(block), rows = cut.first_row(block + 1) - row;
  if (p.depth == 0 && !p.finishes()) return clear(p, row, rows, group * p.columns + first, columns);
  const int64_t plain = gather_plain_stride(gather, p.rows);
  const int64_t flat = p.out.channel == 1 ? flat_stride(p.out.batch, p.out.axis, p.gather.axis, p.rows) : -1;
  const int64_t step = depth_step(p.depth), channel = group * p.columns + first;
  float* c = flat >= 0 ? p.out.data + row * flat + channel : scratch + kBlockRows * step;
  const int64_t c_row = flat >= 0 ? flat : columns;

  const int64_t flat_residual = p.residual.data && p.residual.channel == 1
                                    ? flat_stride(p.residual.batch, p.residual.axis, p.gather.axis, p.rows)
                                    : -1;
  const bool in_tiles = p.finishes() && (!p.residual.data || flat_residual >= 0);
  const float* residual = p.residual.data ? p.residual.data + row * flat_residual : nullptr;

  int64_t k = 0;
  do {
    GemmTile t;
    t.k = std::min(step, p.depth - k);
    t.a_col = 1;
    if (plain >= 0) {
      t.a = gather.source + row * plain + k;
      t.a_row = plain;
    } else {
      isa.gather.rows(&gather, row, rows, k, k + t.k, scratch, t.k);
      t.a = scratch;
      t.a_row = t.k;
    }
    t.b_row = nr;
    t.c_row = c_row;
    t.m = static_cast<int>(rows);
    t.accumulate = k > 0;
    // The next block of a source that is read in place.
    const bool more_rows = plain == p.depth && row + rows < p.rows;
    for (int64_t j = 0; j < columns; j += nr) {
      const float* b = filter + j * p.depth + k * nr;
      // The panel after this one: with few rows, filters that come from memory would take longer than the product.
      t.prefetch = more_rows && j == 0 ? gather.source + (row + rows) * plain + rows * k
                   : j + nr < columns  ? b + nr * p.depth
                                       : filter + (k + t.k) * nr;
      const GemmFinish last =
          tile_finish(p, channel + j, residual ? residual + channel + j : nullptr, flat_residual);
      t.finish = in_tiles && k + t.k == p.depth ? &last : nullptr;
      t.b = b;
      t.c = c + j;
      t.n = static_cast<int>(std::min(nr, columns - j));
      isa.gemm.tile(&t);
    }
    k += t.k;
  } while (k < p.depth);

  if (p.finishes() && !in_tiles) finish(p, row, rows, channel, columns, c, c_row);
  if (flat < 0) scatter(p, row, rows, channel, columns, c);
}

}  // namespace fastcnn::cpu
