// Winograd backward_weight, the adjoint of forward in its filters: with V = B^T x B and W = A dy A^T of every tile,
// dU = sum over tiles of V^T W at every position, then dw = G^T dU G. At stride 2 a filter is part of up to 16 products.
//
// V and W are computed for some tiles at a time (a span of blocks), then multiplied cell by cell: a cell is some input
// channels by some output channels.
//
//   many tiles   They are cut into splits, each with a dU of its own, which are added at the end. A thread does all of a
//                split in memory of its own. With threads that share V and W, what one writes the other reads in every
//                span: two threads on cores that do not share a cache were as slow as one.
//   many cells   Where one span holds all tiles, a task keeps the dU of its cell in cache and turns it into dw at once.
//   else, and with more threads than splits, all threads do a span together: first blocks, then cells and lines of
//                positions.
//
// Sums run over the tiles of a split in order, whatever the threads.
#include <algorithm>

#include "cpu/conv_winograd.h"
#include "cpu/isa.h"
#include "cpu/thread_pool.h"

namespace fastcnn::cpu {
namespace {

constexpr int64_t kBlockTiles = 48;           // depth of one product
constexpr int64_t kSpanFloats = 512 << 10;    // of V and W together
constexpr int64_t kCellRows = 48;             // a multiple of most tiles' rows
constexpr int64_t kLongSpanFloats = 4 << 20;  // where that makes one span of many cells
constexpr int64_t kCellColumns = 64;          // the widest panel
constexpr int64_t kManyCells = 16;
constexpr int64_t kVector = 16;    // the widest vector
constexpr int64_t kSetSkew = 16;   // keeps positions and long rows off one another's cache sets
constexpr int64_t kLoadTiles = 4;  // of one task
constexpr int64_t kSplitTiles = 192, kMostSplits = 8;  // adding up takes a hundredth of so many tiles
constexpr int64_t kSplitFloats = 6 << 20;              // of all dU

int64_t div_up(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t round_up(int64_t a, int64_t b) { return div_up(a, b) * b; }
/// Distance between the rows of a block.
int64_t row_floats(int64_t channels) {
  const int64_t row = round_up(channels, kVector);
  return row % 128 == 0 ? row + kSetSkew : row;
}

struct Cut {
  WinogradGrid grid;
  int64_t block_tiles, blocks, span_blocks;
  int64_t cell_rows, row_cells, cell_columns, column_cells, cells;
  int64_t splits;
  bool apart;  // a split is one thread's
  bool fused;
  int64_t v_row, w_row, v_position, w_position, v_block, w_block, u_position, u_cell;

  Cut(const ConvProblem& p, int threads) : grid(conv_winograd_grid(p, Pass::backward_weight)) {
    row_cells = div_up(p.C, kCellRows);
    cell_rows = div_up(p.C, row_cells);
    cell_columns = std::min(kCellColumns, round_up(p.K, kVector));
    column_cells = div_up(p.K, cell_columns);
    cells = row_cells * column_cells;
    u_position = cell_rows * cell_columns + kSetSkew;
    u_cell = grid.points() * u_position;

    v_row = row_floats(p.C);
    w_row = row_floats(p.K);
    splits = std::min(
        {kMostSplits, grid.tiles() / kSplitTiles, kSplitFloats / std::max<int64_t>(1, cells * u_cell)});
    splits = splits > 1 ? splits / 2 * 2 : 1;  // even, for two threads
    apart = splits > 1 && threads <= splits;
    blocks = round_up(div_up(grid.tiles(), kBlockTiles), splits);
    block_tiles = blocks ? div_up(grid.tiles(), blocks) : 0;
    blocks = blocks ? div_up(grid.tiles(), block_tiles) : 0;
    v_position = block_tiles * v_row + kSetSkew;
    w_position = block_tiles * w_row + kSetSkew;
    v_block = grid.inputs() * v_position;
    w_block = grid.products() * w_position;
    // Where dU is large, spans are long: each reads and writes all of it.
    const int64_t split_blocks = div_up(blocks, splits), all = split_blocks * (v_block + w_block);
    const int64_t one_span = splits == 1 && cells >= kManyCells ? kLongSpanFloats : 0;
    const int64_t least = apart ? v_block + w_block : kSpanFloats;
    const int64_t span_floats = std::max({least, cells * u_cell / 2, std::min(all, one_span)});
    const int64_t spans = std::max<int64_t>(1, div_up(all, std::max<int64_t>(1, span_floats)));
    span_blocks = div_up(split_blocks, spans);
    fused = splits == 1 && span_blocks == split_blocks && cells >= kManyCells;
  }
  int64_t first_block(int64_t split) const { return blocks * split / splits; }
};

/// V and W of a span.
struct Span {
  float *v, *w;
};

struct Space {
  float *spans, *u, *zeros, *prologue, *scratch;
  size_t span_floats, u_floats, scratch_floats, bytes;
  Space(const ConvProblem& p, const Cut& cut, int threads, void* base) {
    FloatArena arena(base);
    span_floats = cut.span_blocks * (cut.v_block + cut.w_block);
    spans = arena.take((cut.apart ? threads : 1) * span_floats);
    u = arena.take(cut.fused ? 0 : cut.splits * cut.cells * cut.u_cell);
    zeros = arena.take(std::max(p.C, p.K));
    prologue = arena.take(p.prologue.scale_shift ? 2 * p.C : 0);
    u_floats = cut.fused || cut.splits > 1 ? cut.u_cell : 0;
    const size_t taps = 9 * cut.cell_rows * cut.cell_columns;
    scratch_floats =
        std::max(u_floats + taps, WinogradSource::stage_floats(cut.grid.h.form, std::max(p.C, p.K)));
    scratch = arena.take(threads * scratch_floats);
    bytes = arena.bytes();
  }
  Span span(const Cut& cut, int slot) const {
    float* base = spans + (cut.apart ? slot : 0) * span_floats;
    return {base, base + cut.span_blocks * cut.v_block};
  }
  float* dU(const Cut& cut, int64_t split, int64_t cell) const {
    return u + (split * cut.cells + cell) * cut.u_cell;
  }
};

struct Run {
  const ConvProblem& p;
  const Cut& cut;
  const Space& space;
  WinogradSource x, dy;
  Volume dw;

  int64_t block_count(int64_t block) const {
    return std::min(cut.block_tiles, cut.grid.tiles() - block * cut.block_tiles);
  }

  /// V or W of some tiles of a block, which is number `in_span` of its span.
  void load(const Span& span, int64_t block, int64_t in_span, int64_t first, bool gradient,
            float* stage) const {
    const WinogradBlock tiles(cut.grid, block * cut.block_tiles, block_count(block));
    const int64_t position = gradient ? cut.w_position : cut.v_position;
    const int64_t row = gradient ? cut.w_row : cut.v_row;
    float* base = gradient ? span.w + in_span * cut.w_block : span.v + in_span * cut.v_block;
    const int64_t last = std::min<int64_t>(first + kLoadTiles, tiles.count());
    for (int64_t i = first; i < last; ++i) {
      const int columns = gradient ? cut.grid.w.products() : cut.grid.w.inputs();
      const WinogradValues to{base + i * row, columns * position, position};
      if (gradient)
        dy.load_gradient(tiles[static_cast<int>(i)], to, stage);
      else
        x.load_input(tiles[static_cast<int>(i)], to, stage);
    }
  }

  /// dU of a cell at lines i .. end - 1 of the positions += the sum over the span; = with its split's first block.
  void multiply(const Span& span, int64_t cell, int i, int end, int64_t first_block, int64_t count,
                bool fresh, float* u) const {
    const Kernels& isa = kernels();
    const int64_t row = cell / cut.column_cells * cut.cell_rows,
                  column = cell % cut.column_cells * cut.cell_columns;
    const int64_t columns = std::min(cut.cell_columns, p.K - column), nr = isa.gemm.nr;
    const int points_w = cut.grid.w.points();
    const WinogradForm form = cut.grid.h.form;
    GemmTile t;
    t.m = static_cast<int>(std::min(cut.cell_rows, p.C - row));
    t.a_row = 1;
    t.a_col = cut.v_row;
    t.b_row = cut.w_row;
    t.c_row = cut.cell_columns;
    int64_t b = 0;
    do {  // also without tiles, to clear
      const WinogradKinds kinds(cut.grid, (first_block + b) * cut.block_tiles,
                                count > 0 ? block_count(first_block + b) : 0);
      for (int64_t at = i * points_w; at < end * points_w; ++at) {
        const WinogradUses down = winograd_uses(form, int(at / points_w), cut.grid.h.products());
        const WinogradUses across = winograd_uses(form, int(at % points_w), cut.grid.w.products());
        for (int use = 0; use < down.count * across.count; ++use) {
          const int r = use / across.count, s = use % across.count;
          const int64_t input = down.input[r] * cut.grid.w.inputs() + across.input[s];
          const int64_t product = down.product[r] * cut.grid.w.products() + across.product[s];
          int first, last;
          kinds.range(down.product[r], across.product[s], &first, &last);
          t.k = last - first;
          t.accumulate = !fresh || b + use > 0 ? 2 : 0;
          t.a = span.v + b * cut.v_block + input * cut.v_position + first * cut.v_row + row;
          const float* w = span.w + b * cut.w_block + product * cut.w_position + first * cut.w_row + column;
          for (int64_t n = 0; n < columns; n += nr) {
            t.n = static_cast<int>(std::min(nr, columns - n));
            t.b = w + n;
            t.c = u + at * cut.u_position + n;
            isa.gemm.tile(&t);
          }
        }
      }
    } while (++b < count);
  }

  /// dw of a cell.
  void finish(int64_t cell, const float* u, float* taps) const {
    const Kernels& isa = kernels();
    const int64_t row = cell / cut.column_cells * cut.cell_rows,
                  column = cell % cut.column_cells * cut.cell_columns;
    const int64_t rows = std::min(cut.cell_rows, p.C - row), width = cut.cell_columns;
    const int64_t points_w = cut.grid.w.points();
    const WinogradFilter f{taps,
                           width,
                           9 * width,
                           {const_cast<float*>(u), points_w * cut.u_position, cut.u_position},
                           width,
                           cut.grid.h.points(),
                           cut.grid.w.points(),
                           rows,
                           width,
                           0};
    isa.winograd.form[int(cut.grid.h.form)].filter_gradient(&f);
    // [channel, tap][filter] -> [filter][channel, tap]; ops make dw in row-major memory
    isa.pack.matrix(taps, 1, width, std::min(width, p.K - column), rows * 9,
                    dw.data + column * dw.batch + row * dw.channel, dw.batch, 0);
  }
};

/// A span by all threads together.
void run_together(const Run& run, int64_t split, int64_t block, int64_t count, int threads) {
  const Cut& cut = run.cut;
  const Space& space = run.space;
  const Span span = space.span(cut, 0);
  const int64_t groups = div_up(cut.block_tiles, kLoadTiles);
  const int lines = cut.grid.h.points();
  const bool fresh = block == cut.first_block(split);
  parallel_for(
      2 * count * groups,
      [&](int64_t task, int slot) {
        const int64_t b = task / 2 / groups, group = task / 2 % groups;
        run.load(span, block + b, b, group * kLoadTiles, task % 2,
                 space.scratch + slot * space.scratch_floats);
      },
      threads);
  if (cut.fused)
    return parallel_for(
        cut.cells,
        [&](int64_t cell, int slot) {
          float* u = space.scratch + slot * space.scratch_floats;
          run.multiply(span, cell, 0, lines, block, count, fresh, u);
          run.finish(cell, u, u + space.u_floats);
        },
        threads);
  parallel_for(
      cut.cells * lines,
      [&](int64_t task, int) {
        const int64_t cell = task / lines;
        const int i = static_cast<int>(task % lines);
        run.multiply(span, cell, i, i + 1, block, count, fresh, space.dU(cut, split, cell));
      },
      threads);
}

/// A span by one thread, in its own memory.
void run_alone(const Run& run, int64_t split, int64_t block, int64_t count, int slot) {
  const Cut& cut = run.cut;
  const Space& space = run.space;
  const Span span = space.span(cut, slot);
  for (int64_t b = 0; b < count; ++b)
    for (int64_t tile = 0; tile < cut.block_tiles; tile += kLoadTiles)
      for (const bool gradient : {false, true})
        run.load(span, block + b, b, tile, gradient, space.scratch + slot * space.scratch_floats);
  for (int64_t cell = 0; cell < cut.cells; ++cell)
    run.multiply(span, cell, 0, cut.grid.h.points(), block, count, block == cut.first_block(split),
                 space.dU(cut, split, cell));
}

/// Calls f(first block, blocks) for the spans of a split, at least once.
template <class F>
void each_span(const Cut& cut, int64_t split, F&& f) {
  int64_t block = cut.first_block(split);
  const int64_t end = cut.first_block(split + 1);
  do {
    f(block, std::min(cut.span_blocks, end - block));
    block += cut.span_blocks;
  } while (block < end);
}

}  // namespace

size_t conv_winograd_weight_bytes(const ConvProblem& p, int threads) {
  return Space(p, Cut(p, threads), threads, nullptr).bytes;
}

void conv_winograd_backward_weight(const ConvArgs& args) {
  const ConvProblem& p = *args.problem;
  const Cut cut(p, args.threads);
  const Space space(p, cut, args.threads, args.workspace);
  std::fill_n(space.zeros, std::max(p.C, p.K), 0.0f);
  const Run run{p,
                cut,
                space,
                conv_winograd_input(args, space.zeros, space.prologue),
                {volume(args.y),
                 p.out[0],
                 {p.out[1], p.out[2]},
                 {0, 0},
                 PadMode::zeros,
                 p.K,
                 space.zeros,
                 cut.grid.h.form},
                volume(args.w)};
  if (cut.apart)
    parallel_for(
        cut.splits,
        [&](int64_t split, int slot) {
          each_span(cut, split,
                    [&](int64_t block, int64_t count) { run_alone(run, split, block, count, slot); });
        },
        args.threads);
  else
    for (int64_t split = 0; split < cut.splits; ++split)
      each_span(cut, split,
                [&](int64_t block, int64_t count) { run_together(run, split, block, count, args.threads); });
  if (cut.fused) return;
  parallel_for(
      cut.cells,
      [&](int64_t cell, int slot) {
        float *scratch = space.scratch + slot * space.scratch_floats, *u = space.dU(cut, 0, cell);
        if (cut.splits > 1) {
          kernels().reduce.sum_rows(u, cut.splits, cut.cells * cut.u_cell, cut.u_cell, scratch);
          u = scratch;
        }
        run.finish(cell, u, scratch + space.u_floats);
      },
      args.threads);
}

}  // namespace fastcnn::cpu
