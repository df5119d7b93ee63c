#include "cpu/patch_gemm.h"

#include <algorithm>
#include <cstring>

#include "cpu/isa.h"

namespace fastcnn::cpu {
namespace {

constexpr int64_t kBlockRows = 192;
constexpr int64_t kSmallBlockRows = 48;  // where there are few rows, for the sake of more tasks
constexpr int64_t kRowMultiple = 12;     // of a tile's rows
constexpr int64_t kBlockDepth = 256;     // 192 x 256 floats of patches stay in L2 beside a panel of 256 x 64
constexpr int64_t kMaxPanelWidth = 64;   // of every ISA
constexpr int64_t kPartColumns = 256;    // of one task: to gather again for the next 256 costs under 3 %
constexpr int64_t kFewTasks = 16;        // with fewer, parts are half as wide

int64_t div_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

/// How the product is cut into tasks; a function of the problem only.
struct Cut {
  int64_t block_rows, blocks, part_columns, parts;
  explicit Cut(const PatchGemm& p) {
    const int64_t least = std::min<int64_t>(4, div_up(p.rows, kSmallBlockRows));
    blocks = std::max({int64_t{1}, div_up(p.rows, kBlockRows), least});
    // Equal blocks, in whole tiles.
    block_rows = std::min(kBlockRows, div_up(div_up(p.rows, blocks), kRowMultiple) * kRowMultiple);
    blocks = p.rows > 0 ? div_up(p.rows, block_rows) : 0;
    const bool few = p.groups * blocks * div_up(p.columns, kPartColumns) < kFewTasks;
    part_columns = few ? kPartColumns / 2 : kPartColumns;
    parts = div_up(p.columns, part_columns);
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

/// Epilogue of a block: `values` holds `rows` x `columns`, from pixel `row` and channel `channel` on.
void finish(const PatchGemm& p, int64_t row, int64_t rows, int64_t channel, int64_t columns, float* values,
            int64_t stride) {
  PixelWalk walk(p.gather.axis, row);
  for (int64_t r = 0; r < rows; ++r, values += stride, walk.next()) {
    if (p.bias)
      for (int64_t j = 0; j < columns; ++j) values[j] += p.bias[channel + j];
    if (p.residual.data) {
      const float* add = p.residual.data + walk.offset(p.residual) + channel * p.residual.channel;
      if (p.residual.channel == 1)
        for (int64_t j = 0; j < columns; ++j) values[j] += add[j];
      else
        for (int64_t j = 0; j < columns; ++j) values[j] += add[j * p.residual.channel];
    }
    if (p.relu)
      for (int64_t j = 0; j < columns; ++j) values[j] = values[j] < 0.0f ? 0.0f : values[j];
  }
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

size_t patch_gemm_scratch_floats(int64_t depth, int64_t columns) {
  return kBlockRows * (std::min(depth, kBlockDepth) + std::min(columns, kPartColumns));
}

int64_t patch_gemm_tasks(const PatchGemm& p) {
  const Cut cut(p);
  return p.groups * cut.blocks * cut.parts;
}

void patch_gemm_task(const PatchGemm& p, int64_t task, float* scratch) {
  const Kernels& isa = kernels();
  const Cut cut(p);
  const int64_t nr = isa.gemm.nr;
  const int64_t part = task % cut.parts, block = task / cut.parts % cut.blocks,
                group = task / cut.parts / cut.blocks;
  const int64_t row = block * cut.block_rows, rows = std::min(cut.block_rows, p.rows - row);
  const int64_t first = part * cut.part_columns, columns = std::min(cut.part_columns, p.columns - first);

  Gather gather = p.gather;
  gather.source += group * p.source_group;
  if (gather.scale) gather.scale += group * gather.channels, gather.shift += group * gather.channels;
  const int64_t plain = gather_plain_stride(gather, p.rows);
  const int64_t flat = p.out.channel == 1 ? flat_stride(p.out.batch, p.out.axis, p.gather.axis, p.rows) : -1;
  const int64_t step = depth_step(p.depth), channel = group * p.columns + first;
  float* c = flat >= 0 ? p.out.data + row * flat + channel : scratch + kBlockRows * step;
  const int64_t c_row = flat >= 0 ? flat : columns;
  const float* filter = p.filter + packed_filter_floats(group, p.depth, p.columns) + first * p.depth;

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
    for (int64_t j = 0; j < columns; j += nr) {
      t.b = filter + j * p.depth + k * nr;
      t.c = c + j;
      t.n = static_cast<int>(std::min(nr, columns - j));
      isa.gemm.tile(&t);
    }
    k += t.k;
  } while (k < p.depth);

  if (p.bias || p.residual.data || p.relu) finish(p, row, rows, channel, columns, c, c_row);
  if (flat < 0) scatter(p, row, rows, channel, columns, c);
}

}  // namespace fastcnn::cpu
