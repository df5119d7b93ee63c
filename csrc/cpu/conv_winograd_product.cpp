// Winograd forward and backward_input. The latter is the former on dy: filters turned by half a turn with their channels
// swapped, padding 2 - pad (at stride 2 half of that, and outputs in pairs).
//
// A block of tiles is transformed (V), multiplied position by position with a part of the transformed filters (U) into
// M, and M is transformed to outputs while it is in L2. Where there are many blocks a task is a block; V is a thread's
// own and stays in its cache. Where there are few, V of all blocks is computed first and a task is a block and a part;
// of one or two small blocks each thread transforms the tiles for itself, which is faster than to have them from the cache
// of another core.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "cpu/conv_algos.h"
#include "cpu/conv_im2col.h"
#include "cpu/conv_winograd.h"
#include "cpu/isa.h"
#include "cpu/thread_pool.h"

namespace fastcnn::cpu {
namespace {

constexpr int64_t kManyBlocks = 16;
// Where parts are few and tiles many, several threads have two blocks: a thread transforms the tiles of its own, and twice as
// many tasks end closer together. No sum depends on that.
constexpr int64_t kFewParts = 8, kManyTiles = 96;
constexpr int64_t kDepth = 512;                   // of one product: 512 x 64 floats of U in L2
constexpr int64_t kVector = 16;                   // the widest vector
constexpr int64_t kSetSkew = 16;                  // keeps positions off one another's cache sets
constexpr int64_t kLoadTiles = 4;                 // of one task where V is computed first
constexpr int64_t kOwnFloats = int64_t(4) << 20;  // of V of all threads together, at most

int64_t div_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

struct Product {
  WinogradGrid grid;
  WinogradFilters filters;
  int64_t block_tiles, blocks;
  bool shared;     ///< V of all blocks at once
  bool by_chunks;  ///< one or two blocks, and much U: each part of it is made on the way, for each block
  int64_t v_row, v_position, v_block, m_position;

  Product(const ConvProblem& p, Pass pass, int threads)
      : grid(conv_winograd_grid(p, pass)),
        filters(pass == Pass::forward ? p.C : p.K, pass == Pass::forward ? p.K : p.C, grid) {
    blocks = std::max<int64_t>(1, div_up(grid.tiles(), filters.block_tiles));
    if (filters.used_once)
      blocks = threads > 1 && filters.parts < kFewParts && grid.tiles() >= kManyTiles ? 2 : 1;
    block_tiles = div_up(grid.tiles(), blocks);
    blocks = grid.tiles() ? div_up(grid.tiles(), block_tiles) : 0;
    shared = blocks < kManyBlocks;
    by_chunks = filters.used_once;
    v_row = div_up(filters.rows, kVector) * kVector;
    v_position = block_tiles * v_row + kSetSkew;
    v_block = grid.inputs() * v_position;
    m_position = block_tiles * filters.part_columns + kSetSkew;
  }
  /// Threads that have work beside one another where it is most.
  int workers(int threads) const {
    return by_chunks ? int(std::min<int64_t>(threads, blocks * filters.parts)) : threads;
  }
  /// Whether each thread has V of its block for itself.
  bool own(int threads) const { return !shared || (by_chunks && workers(threads) * v_block <= kOwnFloats); }
  int64_t block_count(int64_t block) const {
    return std::min(block_tiles, grid.tiles() - block * block_tiles);
  }
};

struct Space {
  float *filters, *v, *zeros, *prologue, *scale, *bias, *scratch;
  size_t m_floats, v_floats, chunk_floats, scratch_floats, bytes;
  /// With `kept`, filters lie there.
  Space(const ConvProblem& p, Pass pass, const Product& product, int threads, void* kept, void* base) {
    FloatArena arena(base);
    filters = static_cast<float*>(kept);
    if (!kept) filters = arena.take(product.by_chunks ? 0 : product.filters.floats());
    v = arena.take(product.own(threads) ? 0 : product.blocks * product.v_block);
    zeros = arena.take(product.v_row);
    prologue = arena.take(pass == Pass::forward && p.prologue.scale_shift ? 2 * p.C : 0);
    scale = arena.take(pass == Pass::forward && p.epilogue.scale ? p.K : 0);
    bias = arena.take(pass == Pass::forward && p.epilogue.bias ? p.K : 0);
    m_floats = product.grid.products() * product.m_position;
    v_floats = product.own(threads) ? product.v_block : 0;
    const size_t stage = WinogradSource::stage_floats(product.grid.h.form, product.v_row);
    chunk_floats = product.by_chunks ? product.filters.chunk_floats() : 0;
    scratch_floats = m_floats + v_floats + chunk_floats + std::max(stage, WinogradFilters::kPackFloats);
    scratch = arena.take(product.workers(threads) * scratch_floats);
    bytes = arena.bytes();
  }
};

/// What is computed: `source` (images, rows channels) -> `out`.
struct Run {
  const Product& product;
  WinogradSource source;
  const float* filters;
  Volume weight;
  bool turned;
  Volume out, residual;
  int64_t depth, extent[2];  // of out
  int before[2] = {0, 0};    // rows and columns of the first tile that do not exist
  const float *scale = nullptr, *bias = nullptr;
  float low = -INFINITY, high = INFINITY;
  bool packed = false;  // filters are there already
};

void load(const Run& run, const WinogradBlock& block, int first, int last, float* v, float* stage) {
  const Product& p = run.product;
  for (int i = first; i < last; ++i)
    run.source.load_input(block[i], {v + i * p.v_row, p.grid.w.inputs() * p.v_position, p.v_position}, stage);
}

/// Where the terms of product (i, j) begin in V and U; how many there are.
int find_terms(const Product& p, int i, int j, int64_t filter_position, GemmSegment* terms) {
  const WinogradTerms down = winograd_terms(p.filters.form, i), across = winograd_terms(p.filters.form, j);
  for (int r = 0; r < down.count; ++r)
    for (int s = 0; s < across.count; ++s)
      *terms++ = {(down.input[r] * p.grid.w.inputs() + across.input[s]) * p.v_position,
                  (down.filter[r] * p.filters.points_w + across.filter[s]) * filter_position};
  return down.count * across.count;
}

/// M (+)= V * U for every product, for the columns of one part and input channels from `row` on: `depth` of them are at
/// `u`, with `position` floats between positions.
void multiply(const Run& run, const WinogradBlock& block, const float* v, int64_t part, int64_t row,
              int64_t depth, const float* u, int64_t position, int64_t panel_rows, float* m) {
  const Product& p = run.product;
  const WinogradFilters& f = p.filters;
  const Kernels& isa = kernels();
  const int64_t columns = std::min(f.part_columns, f.columns - part * f.part_columns), width = f.panel();
  const int64_t step = f.sum_rows ? f.sum_rows : div_up(depth, std::max<int64_t>(1, div_up(depth, kDepth)));
  GemmTile t;
  t.a_row = p.v_row;
  t.a_col = 1;
  t.b_row = width;
  t.c_row = f.part_columns;
  GemmSegment terms[4];
  t.segment = terms;
  for (int i = 0, at = 0; i < p.grid.h.products(); ++i)
    for (int j = 0; j < p.grid.w.products(); ++j, ++at) {
      int first, last;
      block.kinds().range(i, j, &first, &last);
      t.m = last - first;
      t.segments = find_terms(p, i, j, position, terms);
      const float* a = v + first * p.v_row + row;
      float* c = m + at * p.m_position + first * f.part_columns;
      int64_t k = 0;
      do {
        t.k = std::min(step, depth - k);
        t.a = a + k;
        t.accumulate = row + k > 0;
        for (int64_t n = 0; n < columns; n += width) {
          t.n = static_cast<int>(std::min(width, columns - n));
          t.b = u + n * panel_rows + k * width;
          t.c = c + n;
          isa.gemm.tile(&t);
        }
        k += t.k;
      } while (k < depth);
    }
}

/// The same for all input channels, from stored filters.
void multiply(const Run& run, const WinogradBlock& block, const float* v, int64_t part, float* m) {
  const WinogradFilters& f = run.product.filters;
  multiply(run, block, v, part, 0, f.rows, run.filters + part * f.part, f.position, f.rows, m);
}

void store(const Run& run, const WinogradBlock& block, int64_t part, float* m, float* stage) {
  const Product& p = run.product;
  const WinogradFilters& f = p.filters;
  const int64_t channel = part * f.part_columns;
  const int output_step = winograd_output_step(f.form);
  WinogradStore s{};
  s.from = {nullptr, p.grid.w.products() * p.m_position, p.m_position};
  s.channels = std::min(f.part_columns, f.columns - channel);
  s.out_row = run.out.axis[1];
  s.out_col = run.out.axis[2];
  s.scale = run.scale ? run.scale + channel : nullptr;
  s.bias = run.bias ? run.bias + channel : nullptr;
  s.low = run.low, s.high = run.high;
  for (int i = 0; i < block.count(); ++i) {
    const WinogradTile& t = block[i];
    const int64_t row = t.row * output_step - run.before[0], col = t.col * output_step - run.before[1];
    const auto place = [&](const Volume& v) {
      return v.data + t.image / run.depth * v.batch + t.image % run.depth * v.axis[0] + row * v.axis[1] +
             col * v.axis[2] + channel * v.channel;
    };
    s.from.data = m + i * f.part_columns;
    s.rows = t.rows, s.cols = t.cols;
    s.first_row = row < 0, s.first_col = col < 0;
    s.end_row = int(std::min<int64_t>(t.rows * output_step, run.extent[0] - row));
    s.end_col = int(std::min<int64_t>(t.cols * output_step, run.extent[1] - col));
    s.out = place(run.out);
    if (run.residual.data) {
      const float* residual = place(run.residual);
      s.residual = residual;
      s.residual_row = run.residual.axis[1];
      s.residual_col = run.residual.axis[2];
      if (run.residual.channel != 1) {
        s.residual_row = s.end_col * f.part_columns;
        s.residual_col = f.part_columns;
        s.residual = stage;
        for (int r = 0; r < s.end_row; ++r)
          for (int q = 0; q < s.end_col; ++q)
            for (int64_t c = 0; c < s.channels; ++c)
              stage[r * s.residual_row + q * s.residual_col + c] =
                  residual[r * run.residual.axis[1] + q * run.residual.axis[2] + c * run.residual.channel];
      }
    }
    kernels().winograd.form[int(f.form)].output(&s);
  }
}

void pack(const Run& run, const Space& space, int threads) {
  const WinogradFilters& f = run.product.filters;
  if (run.product.by_chunks || run.packed) return;
  parallel_for(
      f.parts * f.chunks,
      [&](int64_t task, int slot) {
        f.pack(run.weight, run.turned, task / f.chunks, task % f.chunks, space.filters,
               space.scratch + slot * space.scratch_floats);
      },
      threads);
}

void execute(const Run& run, const Space& space, int threads) {
  pack(run, space, threads);
  const Product& p = run.product;
  const int workers = p.workers(threads);
  const auto scratch = [&](int slot) { return space.scratch + slot * space.scratch_floats; };
  const auto block_of = [&](int64_t b) { return WinogradBlock(p.grid, b * p.block_tiles, p.block_count(b)); };
  if (!p.shared) {
    parallel_for(
        p.blocks,
        [&](int64_t task, int slot) {
          const WinogradBlock block = block_of(task);
          float* m = scratch(slot);
          float *v = m + space.m_floats, *stage = v + space.v_floats;
          load(run, block, 0, block.count(), v, stage);
          for (int64_t part = 0; part < p.filters.parts; ++part) {
            multiply(run, block, v, part, m);
            store(run, block, part, m, stage);
          }
        },
        threads);
    return;
  }
  const bool own = p.own(threads);
  int64_t loaded[kMaxThreads] = {};  // by slot: which block's V a thread has for its own, counted from 1
  if (!own) {
    const int64_t groups = div_up(p.block_tiles, kLoadTiles);
    parallel_for(
        p.blocks * groups,
        [&](int64_t task, int slot) {
          const WinogradBlock block = block_of(task / groups);
          const int first = int(task % groups * kLoadTiles);
          load(run, block, first, std::min(block.count(), first + int(kLoadTiles)),
               space.v + task / groups * p.v_block, scratch(slot) + space.m_floats);
        },
        workers);
  }
  parallel_for(
      p.blocks * p.filters.parts,
      [&](int64_t task, int slot) {
        const int64_t b = p.by_chunks ? task / p.filters.parts : task % p.blocks,
                      part = p.by_chunks ? task % p.filters.parts : task / p.blocks;
        const WinogradBlock block = block_of(b);
        float *m = scratch(slot), *chunk = m + space.m_floats + space.v_floats,
              *stage = chunk + space.chunk_floats;
        float* v = own ? m + space.m_floats : space.v + b * p.v_block;
        if (own && loaded[slot] != b + 1) {
          load(run, block, 0, block.count(), v, stage);
          loaded[slot] = b + 1;
        }
        if (p.by_chunks) {
          for (int64_t row = 0; row < p.filters.rows; row += p.filters.chunk_rows) {
            const int64_t depth = std::min(p.filters.chunk_rows, p.filters.rows - row);
            p.filters.pack_rows(run.weight, run.turned, part, row, depth, chunk, stage);
            multiply(run, block, v, part, row, depth, chunk, p.filters.chunk_position, p.filters.chunk_rows,
                     m);
          }
        } else {
          multiply(run, block, v, part, m);
        }
        store(run, block, part, m, stage);
      },
      workers);
}

}  // namespace

ConvFilters conv_winograd_filters(const ConvProblem& p, Pass pass) {
  if (pass != Pass::forward) return {};
  const Product product(p, pass, 1);
  if (product.by_chunks)
    return {};  // to make them anew is faster than to read four times as many from memory
  FloatArena arena(nullptr);
  arena.take(product.filters.floats());
  const WinogradFilters& f = product.filters;
  return {arena.bytes(), uint64_t(int(f.form) * 256 + f.points_h * 16 + f.points_w)};
}

size_t conv_winograd_product_bytes(const ConvProblem& p, Pass pass, int threads) {
  return Space(p, pass, Product(p, pass, threads), threads, nullptr, nullptr).bytes;
}

void conv_winograd_forward(const ConvArgs& args) {
  const ConvProblem& p = *args.problem;
  const Product product(p, Pass::forward, args.threads);
  const Space space(p, Pass::forward, product, args.threads, args.filters, args.workspace);
  if (product.blocks == 0) return;
  std::fill_n(space.zeros, p.C, 0.0f);
  Run run{product,
          conv_winograd_input(args, space.zeros, space.prologue),
          space.filters,
          volume(args.w),
          false,
          volume(args.y),
          {},
          p.out[0],
          {p.out[1], p.out[2]}};
  run.low = p.epilogue.low();
  run.high = p.epilogue.high();
  if (p.epilogue.bias) run.bias = conv_copy_vector(args.bias, p.K, space.bias);
  if (p.epilogue.scale) run.scale = conv_copy_vector(args.filter_scale, p.K, space.scale);
  if (p.epilogue.residual) run.residual = volume(args.residual);
  run.packed = args.filters_filled;
  execute(run, space, args.threads);
}

void conv_winograd_backward_input(const ConvArgs& args) {
  const ConvProblem& p = *args.problem;
  const Product product(p, Pass::backward_input, args.threads);
  const Space space(p, Pass::backward_input, product, args.threads, nullptr, args.workspace);
  if (product.blocks == 0) return;
  const WinogradForm form = product.filters.form;
  const int before[2] = {conv_winograd_before(p, Pass::backward_input, 1),
                         conv_winograd_before(p, Pass::backward_input, 2)};
  const auto pad = [&](int axis) {
    return form == WinogradForm::stride1 ? 2 - p.pad_low[axis] : (1 + before[axis - 1] - p.pad_low[axis]) / 2;
  };
  const Run run{product,
                {volume(args.y),
                 p.in[0],
                 {p.out[1], p.out[2]},
                 {pad(1), pad(2)},
                 PadMode::zeros,
                 p.K,
                 space.zeros,
                 form},
                space.filters,
                volume(args.w),
                true,
                volume(args.x),
                {},
                p.in[0],
                {p.in[1], p.in[2]},
                {before[0], before[1]}};
  std::fill_n(space.zeros, p.K, 0.0f);
  execute(run, space, args.threads);
}

}  // namespace fastcnn::cpu
