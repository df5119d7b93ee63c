// The im2col row's backward_weight: dw[(t,r,s,c), k] = sum over pixels of patch(pixel, (t,r,s,c)) * dy(pixel, k).
//
// The product is cut into chunks of (t,r,s,c) and k, and, where those are too few to go round, the pixels into
// splits whose partial sums are added in order afterwards. The cut is a function of the problem only, so bits do
// not depend on the number of threads. Whichever of the two sides fills vectors better gives the columns.
#include <algorithm>
#include <cstring>

#include "cpu/conv_algos.h"
#include "cpu/conv_im2col.h"
#include "cpu/isa.h"
#include "cpu/thread_pool.h"

namespace fastcnn::cpu {
namespace {

constexpr int64_t kBlockPixels = 128;  // depth of one product: 128 x (192 + 64) floats in L2 beside the sums
constexpr int64_t kChunkRows = 192;    // a multiple of every tile's rows
constexpr int64_t kChunkColumns = 256;
constexpr int64_t kWantedTasks = 32;
constexpr int64_t kPanel = 64;   // columns of the widest ISA's register tile
constexpr int64_t kVector = 16;  // lanes of the widest ISA
constexpr int64_t kReduceFilters = 16;

int64_t div_up(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t round_up(int64_t a, int64_t b) { return div_up(a, b) * b; }

struct Cut {
  bool filters_are_rows;  // else patches are
  int64_t rows, columns, row_chunks, column_chunks;
  int64_t pixels, block_pixels, blocks, splits;
  explicit Cut(const ConvProblem& p) {
    const int64_t patch = p.taps() * p.channels_per_group(), filters = p.filters_per_group();
    const auto fill = [](int64_t n) {
      return double(n) / double(round_up(std::max<int64_t>(n, 1), kVector));
    };
    filters_are_rows = fill(patch) > fill(filters);
    rows = filters_are_rows ? filters : patch;
    columns = filters_are_rows ? patch : filters;
    row_chunks = div_up(rows, kChunkRows);
    column_chunks = div_up(columns, kChunkColumns);
    pixels = p.N * p.out_pixels();
    blocks = div_up(pixels, kBlockPixels);
    block_pixels = div_up(pixels, std::max<int64_t>(blocks, 1));  // equal blocks
    const int64_t chunks = std::max<int64_t>(1, p.G * row_chunks * column_chunks);
    splits = std::max<int64_t>(1, std::min(div_up(kWantedTasks, chunks), blocks / 2));
  }
};

struct Space {
  float *partial, *prologue, *scratch;
  size_t scratch_floats, bytes;
  Space(const ConvProblem& p, const Cut& cut, int threads, void* base) {
    FloatArena arena(base);
    partial = arena.take(cut.splits * p.G * cut.rows * cut.columns);
    prologue = arena.take(p.prologue.scale_shift ? 2 * p.C : 0);
    scratch_floats = kBlockPixels * (std::min(cut.rows, kChunkRows) +
                                     round_up(std::min(cut.columns, kChunkColumns), kVector));
    scratch = arena.take(threads * scratch_floats);
    bytes = arena.bytes();
  }
};

/// One operand of the product, block of pixels by chunk of its columns.
struct Side {
  Gather gather;
  int64_t group;  // elements from one group to the next
  int64_t plain;  // stride if rows can be read in place, else -1
};

void run_task(const Side& row_side, const Side& column_side, const ConvProblem& p, const Cut& cut,
              int64_t task, float* partial, float* scratch) {
  const Kernels& isa = kernels();
  const int64_t nr = isa.gemm.nr;
  const int64_t j = task % cut.column_chunks * kChunkColumns,
                columns = std::min(kChunkColumns, cut.columns - j);
  task /= cut.column_chunks;
  const int64_t i = task % cut.row_chunks * kChunkRows, rows = std::min(kChunkRows, cut.rows - i);
  task /= cut.row_chunks;
  const int64_t group = task % p.G, split = task / p.G;
  const int64_t first = cut.blocks * split / cut.splits, last = cut.blocks * (split + 1) / cut.splits;

  const auto of_group = [&](const Side& side) {
    Gather g = side.gather;
    g.source += group * side.group;
    if (g.scale) g.scale += group * g.channels, g.shift += group * g.channels;
    return g;
  };
  const Gather row_gather = of_group(row_side), column_gather = of_group(column_side);
  float* a_block = scratch;
  float* b_block = scratch + kBlockPixels * std::min(cut.rows, kChunkRows);
  // In place only where rows are short and follow each other: long strides fall on few sets of the L1 cache. And
  // vectors must not reach past the last column.
  const bool a_plain = row_side.plain >= 0 && row_side.plain <= kChunkRows;
  const bool b_plain = column_side.plain >= 0 && column_side.plain <= nr && columns % isa.gemm.lanes == 0;

  GemmTile t;
  t.a_row = 1;
  t.m = static_cast<int>(rows);
  t.c_row = cut.columns;
  t.accumulate = 0;
  float* c = partial + ((split * p.G + group) * cut.rows + i) * cut.columns + j;
  int64_t block = first;
  do {
    const int64_t pixel = block * cut.block_pixels;
    t.k = std::max<int64_t>(0, std::min(cut.block_pixels, cut.pixels - pixel));
    if (a_plain) {
      t.a = row_gather.source + pixel * row_side.plain + i;
      t.a_col = row_side.plain;
    } else {
      isa.gather.rows(&row_gather, pixel, t.k, i, i + rows, a_block, rows);
      t.a = a_block;
      t.a_col = rows;
    }
    for (int64_t n = 0; n < columns; n += nr) {
      t.n = static_cast<int>(std::min(nr, columns - n));
      if (b_plain) {
        t.b = column_gather.source + pixel * column_side.plain + j + n;
        t.b_row = column_side.plain;
      } else {
        t.b_row = round_up(t.n, isa.gemm.lanes);
        isa.gather.rows(&column_gather, pixel, t.k, j + n, j + n + t.n, b_block, t.b_row);
        t.b = b_block;
      }
      t.c = c + n;
      isa.gemm.tile(&t);
    }
    t.accumulate = 1;
  } while (++block < last);
}

/// dw[k, ...] = sum over splits, for kReduceFilters filters of one group.
void reduce_task(const ConvProblem& p, const Cut& cut, int64_t task, const float* partial, const Volume& dw) {
  const int64_t Cg = p.channels_per_group(), Kg = p.filters_per_group(), parts = div_up(Kg, kReduceFilters);
  const int64_t group = task / parts, k = task % parts * kReduceFilters,
                filters = std::min(kReduceFilters, Kg - k);
  const int64_t by_filter = cut.filters_are_rows ? cut.columns : 1,
                by_patch = cut.filters_are_rows ? 1 : cut.columns;
  const int64_t by_split = p.G * cut.rows * cut.columns;
  const float* source = partial + group * cut.rows * cut.columns + k * by_filter;
  float* out = dw.data + (group * Kg + k) * dw.batch;
  for (int64_t t = 0; t < p.filter[0]; ++t)
    for (int64_t r = 0; r < p.filter[1]; ++r)
      for (int64_t s = 0; s < p.filter[2]; ++s) {
        float* at = out + t * dw.axis[0] + r * dw.axis[1] + s * dw.axis[2];
        for (int64_t c = 0; c < Cg; ++c, at += dw.channel, source += by_patch) {
          float sum[kReduceFilters];
          for (int64_t f = 0; f < filters; ++f) sum[f] = source[f * by_filter];
          for (int64_t split = 1; split < cut.splits; ++split)
            for (int64_t f = 0; f < filters; ++f) sum[f] += source[split * by_split + f * by_filter];
          for (int64_t f = 0; f < filters; ++f) at[f * dw.batch] = sum[f];
        }
      }
}

}  // namespace

size_t conv_im2col_backward_weight_bytes(const ConvProblem& p, int threads) {
  return Space(p, Cut(p), threads, nullptr).bytes;
}

void conv_im2col_backward_weight(const ConvArgs& args) {
  const ConvProblem& p = *args.problem;
  const Cut cut(p);
  const Space space(p, cut, args.threads, args.workspace);
  const Volume x = volume(args.x), dy = volume(args.y), dw = volume(args.w);
  Side patches{conv_input_patches(p, x), p.channels_per_group() * x.channel, -1};
  conv_set_prologue(args, space.prologue, &patches.gather);
  Side gradient{conv_output_rows(p, dy), p.filters_per_group() * dy.channel, -1};
  if (cut.pixels > 0) {
    patches.plain = gather_plain_stride(patches.gather, cut.pixels);
    gradient.plain = gather_plain_stride(gradient.gather, cut.pixels);
  }
  const Side &rows = cut.filters_are_rows ? gradient : patches,
             &columns = cut.filters_are_rows ? patches : gradient;
  parallel_for(
      cut.splits * p.G * cut.row_chunks * cut.column_chunks,
      [&](int64_t task, int slot) {
        run_task(rows, columns, p, cut, task, space.partial, space.scratch + slot * space.scratch_floats);
      },
      args.threads);
  parallel_for(
      p.G * div_up(p.filters_per_group(), kReduceFilters),
      [&](int64_t task, int) { reduce_task(p, cut, task, space.partial, dw); }, args.threads);
}

}  // namespace fastcnn::cpu
