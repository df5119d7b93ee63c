// The im2col row's backward_weight: dw[(t,r,s,c), k] = sum over pixels of patch(pixel, (t,r,s,c)) * dy(pixel, k).
//
// The product is cut into chunks of (t,r,s,c) and k, and, where those are too few to go round, the pixels into
// splits whose partial sums are added in order afterwards. The cut is a function of the problem only, so bits do
// not depend on the number of threads. Whichever of the two sides fills vectors better gives the columns.
//
// Where filter rows are short runs of the source (first layers), patches are not gathered: a filter row's patches are
// a matrix in the source itself (patch_lines.h), and one product adds up some output lines of an image.
#include <algorithm>
#include <cstring>

#include "cpu/conv_algos.h"
#include "cpu/conv_im2col.h"
#include "cpu/isa.h"
#include "cpu/patch_lines.h"
#include "cpu/thread_pool.h"

namespace fastcnn::cpu {
namespace {

constexpr int64_t kBlockPixels = 112;  // depth of one product: a panel of 112 x 64 floats is half of L1
constexpr int64_t kChunkRows = 192;
constexpr int64_t kTileRows = 6;  // of the widest ISA's full tile
constexpr int64_t kChunkColumns = 512;
// Matrices are read in place where their rows are short: long strides fall on few sets of the L1 cache.
constexpr int64_t kInPlaceRows = 32, kInPlaceColumns = 96;
constexpr int64_t kSplitPixels = 256;  // at least, so that partial sums are small beside what they add up
constexpr int64_t kWholePixels = 12;   // chunks of a pixel, at most, where all of it is fetched early
constexpr int64_t kLongSum = 1024;     // pixels: shorter ones are not split
constexpr int64_t kWantedTasks = 16, kLeastTasks = 8;
constexpr int64_t kVector = 16;     // lanes of the widest ISA
constexpr int64_t kNarrowRun = 96;  // floats of a filter row, at most, where patches are read in place
constexpr int64_t kStageFloats = 32 << 10;  // of dy in one product of those
constexpr int64_t kFewRows = 6;             // of a product: less than half of a tile
constexpr int64_t kReduceFilters = 16, kReduceChannels = 1024;

int64_t div_up(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t round_up(int64_t a, int64_t b) { return div_up(a, b) * b; }
/// A stride of an odd number of cache lines, so that a column's lines fall on all sets of the L1 cache.
int64_t odd_lines(int64_t floats) { return (div_up(floats, 16) | 1) * 16; }

struct Cut {
  bool filters_are_rows;  // else patches are
  int64_t rows, columns, chunk_rows, chunk_columns, row_chunks, column_chunks;
  int64_t pixels, block_pixels, blocks, splits;
  PatchLines lines;
  bool narrow;
  int64_t stage_lines, stage_columns;  // of dy, where narrow
  // Two pixels' few filters share a vector; their patches then begin `shift` floats apart in one longer run.
  bool paired = false;
  int64_t run, shift, pair_floats = 0;
  explicit Cut(const ConvProblem& p)
      : lines(conv_input_patches(p, Volume{}), p.N * p.out_pixels(), div_up(kWantedTasks, p.G)) {
    const int64_t patch = p.taps() * p.channels_per_group(), filters = p.filters_per_group();
    run = p.filter[2] * p.channels_per_group();
    shift = p.stride[2] * p.channels_per_group();
    // Where patches are pixels, both ways read them in place; this one if filters are the longer side.
    const bool pixels_are_patches = p.taps() == 1 && p.stride[1] == 1 && p.stride[2] == 1 && filters < 64;
    narrow =
        lines.usable && !pixels_are_patches && run <= kNarrowRun && (p.dilation[2] == 1 || p.filter[2] == 1);
    if (narrow) {
      filters_are_rows = false;
      rows = patch, columns = filters;
      row_chunks = column_chunks = 1;
      splits = std::min(
          {div_up(kWantedTasks, p.G), lines.images * lines.blocks, p.N * p.out_pixels() / kSplitPixels});
      splits = std::max<int64_t>(1, splits);
      paired = filters <= kVector / 2 && lines.width % 2 == 0 && run + shift < 2 * run;
      pair_floats = paired ? p.filter[1] * (run + shift) * 2 * filters : 0;
      stage_columns = paired ? filters : round_up(filters, kVector);
      stage_lines = std::max<int64_t>(1, kStageFloats / (lines.width * stage_columns));
      stage_lines = std::min(stage_lines, lines.block_lines);
      return;
    }
    const auto fill = [](int64_t n) {
      return double(n) / double(round_up(std::max<int64_t>(n, 1), kVector));
    };
    // Filters as rows keep the order of dw; the other way round costs a transposition.
    filters_are_rows = fill(patch) * 1.1 > fill(filters);
    rows = filters_are_rows ? filters : patch;
    columns = filters_are_rows ? patch : filters;
    row_chunks = div_up(rows, kChunkRows);
    column_chunks = div_up(columns, kChunkColumns);
    pixels = p.N * p.out_pixels();
    // Too few tasks: long sums are split, which copies nothing twice; short ones get narrower chunks.
    const int64_t most = pixels < kLongSum ? 1 : pixels / kSplitPixels;
    if (p.G * row_chunks * column_chunks * most < kLeastTasks) row_chunks = std::max(row_chunks, rows / 96);
    // All of a size: an odd number would leave two threads 3 and 2, say.
    if (row_chunks > 1 && most == 1)
      while (p.G * row_chunks * column_chunks % (row_chunks < 4 ? 2 : 4)) ++row_chunks;
    row_chunks = std::min(row_chunks, div_up(rows, kTileRows));
    chunk_rows = row_chunks ? div_up(div_up(rows, kTileRows), row_chunks) * kTileRows : 0;
    chunk_columns =
        round_up(div_up(std::max<int64_t>(columns, 1), std::max<int64_t>(column_chunks, 1)), kVector);
    column_chunks = div_up(columns, chunk_columns);
    const int64_t chunks = std::max<int64_t>(1, p.G * row_chunks * column_chunks);
    splits = std::max<int64_t>(1, std::min(div_up(kLeastTasks, chunks), most));
    if (splits > 1 && chunks % 2 == 1) splits -= splits % 2;
    blocks = round_up(div_up(pixels, kBlockPixels), splits);
    block_pixels = div_up(pixels, std::max<int64_t>(blocks, 1));  // equal blocks
  }
  /// Whole tiles, dealt out evenly.
  int64_t first_row(int64_t chunk) const {
    return std::min(rows, div_up(rows, kTileRows) * chunk / row_chunks * kTileRows);
  }
};

struct Space {
  float *partial, *prologue, *scratch;
  size_t scratch_floats, bytes;
  Space(const ConvProblem& p, const Cut& cut, int threads, void* base) {
    FloatArena arena(base);
    partial = arena.take(cut.splits * p.G * cut.rows * cut.columns);
    prologue = arena.take(p.prologue.scale_shift ? 2 * p.C : 0);
    scratch_floats = cut.narrow ? cut.lines.window_floats + cut.pair_floats + kVector +
                                      cut.stage_lines * cut.lines.width * cut.stage_columns
                                : kBlockPixels * (odd_lines(cut.chunk_rows) + odd_lines(cut.chunk_columns));
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

/// Hands out stretches of the memory that the next block will read, for tiles to fetch on the way.
class Ahead {
 public:
  void add(const float* data, int64_t floats) {
    if (floats > 0 && count_ < 2) data_[count_] = data, floats_[count_++] = floats;
  }
  /// Null where there is nothing left.
  const float* take(const GemmTile& t) {
    while (at_ < count_ && used_ >= floats_[at_]) ++at_, used_ = 0;
    if (at_ == count_) return nullptr;
    const float* from = data_[at_] + used_;
    used_ += int64_t(t.m) * t.k * t.segments / 8 * 16;
    return from;
  }

 private:
  const float* data_[2];
  int64_t floats_[2], used_ = 0;
  int count_ = 0, at_ = 0;
};

/// Where sums go: row after row, all groups, all splits.
struct Matrix {
  float* data;
  int64_t row;
};

void run_task(const Side& row_side, const Side& column_side, const ConvProblem& p, const Cut& cut,
              int64_t task, const Matrix& out, float* scratch) {
  const Kernels& isa = kernels();
  const int64_t nr = isa.gemm.nr;
  const int64_t j = task % cut.column_chunks * cut.chunk_columns,
                columns = std::min(cut.chunk_columns, cut.columns - j);
  task /= cut.column_chunks;
  const int64_t chunk = task % cut.row_chunks, i = cut.first_row(chunk), rows = cut.first_row(chunk + 1) - i;
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
  float* b_block = scratch + kBlockPixels * odd_lines(cut.chunk_rows);
  const bool a_plain = row_side.plain >= 0 && row_side.plain <= kInPlaceRows;
  const bool b_plain =
      column_side.plain >= 0 && column_side.plain <= kInPlaceColumns && columns % isa.gemm.lanes == 0;

  GemmTile t;
  t.a_row = 1;
  t.b_row = b_plain ? column_side.plain : odd_lines(columns);
  t.m = static_cast<int>(rows);
  t.c_row = out.row;
  t.accumulate = 0;
  float* c = out.data + ((split * p.G + group) * cut.rows + i) * out.row + j;
  int64_t block = first;
  do {
    const int64_t pixel = block * cut.block_pixels;
    t.k = std::max<int64_t>(0, std::min(cut.block_pixels, cut.pixels - pixel));
    if (a_plain) {
      t.a = row_gather.source + pixel * row_side.plain + i;
      t.a_col = row_side.plain;
    } else {
      t.a_col = odd_lines(rows);
      isa.gather.rows(&row_gather, pixel, t.k, i, i + rows, a_block, t.a_col);
      t.a = a_block;
    }
    Ahead ahead;
    const int64_t next = pixel + cut.block_pixels, coming = std::min(cut.block_pixels, cut.pixels - next);
    // Whole pixels, though this task wants a part of them: what is fetched has to be one stretch.
    const auto add = [&](const Side& side, const float* source, int64_t wanted) {
      if (side.plain >= 0 && side.plain <= kWholePixels * wanted)
        ahead.add(source + next * side.plain, coming * side.plain);
    };
    add(column_side, column_gather.source, columns);
    add(row_side, row_gather.source, rows);
    const float* b = b_block;
    if (b_plain)
      b = column_gather.source + pixel * column_side.plain + j;
    else
      isa.gather.rows(&column_gather, pixel, t.k, j, j + columns, b_block, t.b_row);
    for (int64_t n = 0; n < columns; n += nr) {
      t.n = static_cast<int>(std::min(nr, columns - n));
      t.b = b + n;
      t.c = c + n;
      t.prefetch = ahead.take(t);
      isa.gemm.tile(&t);
    }
    t.accumulate = 1;
  } while (++block < last);
}

/// The sums of one split and group where patches are runs of the source.
void run_narrow_task(const Side& patches, const Side& gradient, const ConvProblem& p, const Cut& cut,
                     int64_t task, float* partial, float* scratch) {
  const Kernels& isa = kernels();
  const PatchLines& lines = cut.lines;
  const int64_t nr = isa.gemm.nr, group = task % p.G, split = task / p.G, width = lines.width;
  const int64_t items = lines.images * lines.blocks, all_pixels = p.N * p.out_pixels();
  const int64_t pixels = cut.paired ? 2 : 1, rows = cut.run + (cut.paired ? cut.shift : 0),
                columns = pixels * cut.columns;
  Gather source = patches.gather, dy = gradient.gather;
  source.source += group * patches.group, dy.source += group * gradient.group;
  if (source.scale) source.scale += group * source.channels, source.shift += group * source.channels;
  float* pair_sums = scratch + lines.window_floats;
  float* staged = pair_sums + cut.pair_floats;
  float* out = partial + (split * p.G + group) * cut.rows * cut.columns;
  float* sums = cut.paired ? pair_sums : out;

  GemmSegment segment[kMaxSegments];
  GemmTile t;
  t.segment = segment;
  t.a_row = 1;
  t.m = static_cast<int>(rows);
  t.c_row = columns;
  t.k = width / pixels;
  // Short filter rows fill no tile: all of them are rows of one product.
  const bool joined = rows <= kFewRows && rows % kGemmBlock == 0;
  const int64_t products = joined ? 1 : p.filter[1];
  if (joined) t.block_rows = t.m, t.m *= static_cast<int>(p.filter[1]);
  t.accumulate = 0;
  for (int64_t item = items * split / cut.splits; item < items * (split + 1) / cut.splits; ++item) {
    const int64_t image = item / lines.blocks, first = item % lines.blocks * lines.block_lines;
    const int64_t count = std::min(lines.block_lines, lines.height - first);
    const PatchWindow window = patch_window(source, lines, image, first, count, true, scratch);
    t.a_col = pixels * p.stride[2] * window.pixel;
    for (int64_t done = 0; done < count; done += cut.stage_lines) {
      const int64_t now = std::min(cut.stage_lines, count - done);
      const int64_t pixel = (image * lines.height + first + done) * width;
      // In place if vectors that reach past the last column stay inside of the tensor.
      const bool in_place = gradient.plain == cut.columns &&
                            (columns % isa.gemm.lanes == 0 ||
                             (all_pixels - pixel - now * width) * gradient.plain >= isa.gemm.lanes);
      const float* b = staged;
      const int64_t b_pixel = in_place ? gradient.plain : cut.stage_columns;
      if (in_place)
        b = dy.source + pixel * gradient.plain;
      else
        isa.gather.rows(&dy, pixel, now * width, 0, cut.columns, staged, b_pixel);
      t.b_row = pixels * b_pixel;
      t.segments = static_cast<int>(now);
      for (int64_t i = 0; i < now; ++i)
        segment[i] = {(done + i) * p.stride[1] * window.line, i * width * b_pixel};
      Ahead ahead;
      if (in_place && gradient.plain == cut.columns)
        ahead.add(b + now * width * b_pixel,
                  std::min(now * width, all_pixels - pixel - now * width) * gradient.plain);
      t.block_step = p.dilation[1] * window.line;
      for (int64_t r = 0; r < products; ++r) {
        t.a = window.base + r * t.block_step;
        for (int64_t j = 0; j < columns; j += nr) {
          t.n = static_cast<int>(std::min(nr, columns - j));
          t.b = b + j;
          t.c = sums + r * rows * columns + j;
          t.prefetch = ahead.take(t);
          isa.gemm.tile(&t);
        }
      }
      t.accumulate = 2;  // a line or so is one chain, so that errors grow slowly
    }
  }
  if (!cut.paired) return;
  for (int64_t r = 0; r < p.filter[1]; ++r)
    for (int64_t i = 0; i < cut.run; ++i) {
      const float* first = pair_sums + (r * rows + i) * columns;
      const float* second = first + cut.shift * columns + cut.columns;
      for (int64_t k = 0; k < cut.columns; ++k) *out++ = first[k] + second[k];
    }
}

/// dw[k, ...] = sum over splits, for kReduceFilters filters of one group; partial sums are [filter][patch].
void reduce_rows(const ConvProblem& p, const Cut& cut, const float* source, int64_t filters, float* out,
                 const Volume& dw) {
  const int64_t Cg = p.channels_per_group(), by_split = p.G * cut.rows * cut.columns;
  for (int64_t f = 0; f < filters; ++f, out += dw.batch)
    for (int64_t first = 0; first < Cg; first += kReduceChannels) {
      const int64_t channels = std::min(kReduceChannels, Cg - first);
      int64_t tap = 0;
      for (int64_t t = 0; t < p.filter[0]; ++t)
        for (int64_t r = 0; r < p.filter[1]; ++r)
          for (int64_t s = 0; s < p.filter[2]; ++s, ++tap) {
            const float* from = source + f * cut.columns + tap * Cg + first;
            float sum[kReduceChannels];
            kernels().reduce.sum_rows(from, cut.splits, by_split, channels, sum);
            float* at = out + t * dw.axis[0] + r * dw.axis[1] + s * dw.axis[2] + first * dw.channel;
            for (int64_t c = 0; c < channels; ++c) at[c * dw.channel] = sum[c];
          }
    }
}

/// The same where they are [patch][filter].
void reduce_columns(const ConvProblem& p, const Cut& cut, const float* source, int64_t filters, float* out,
                    const Volume& dw) {
  const int64_t Cg = p.channels_per_group(), by_split = p.G * cut.rows * cut.columns;
  for (int64_t t = 0; t < p.filter[0]; ++t)
    for (int64_t r = 0; r < p.filter[1]; ++r)
      for (int64_t s = 0; s < p.filter[2]; ++s) {
        float* at = out + t * dw.axis[0] + r * dw.axis[1] + s * dw.axis[2];
        for (int64_t c = 0; c < Cg; ++c, at += dw.channel, source += cut.columns) {
          float sum[kReduceFilters];
          kernels().reduce.sum_rows(source, cut.splits, by_split, filters, sum);
          for (int64_t f = 0; f < filters; ++f) at[f * dw.batch] = sum[f];
        }
      }
}

void reduce_task(const ConvProblem& p, const Cut& cut, int64_t task, const float* partial, const Volume& dw) {
  const int64_t Kg = p.filters_per_group(), parts = div_up(Kg, kReduceFilters);
  const int64_t group = task / parts, k = task % parts * kReduceFilters,
                filters = std::min(kReduceFilters, Kg - k);
  const float* source = partial + group * cut.rows * cut.columns;
  float* out = dw.data + (group * Kg + k) * dw.batch;
  if (cut.filters_are_rows)
    reduce_rows(p, cut, source + k * cut.columns, filters, out, dw);
  else
    reduce_columns(p, cut, source + k, filters, out, dw);
}

/// dw is the matrix of partial sums, filter by filter.
bool is_plain(const ConvProblem& p, const Volume& dw) {
  return dw.channel == 1 && p.taps() == 1 && dw.batch >= p.channels_per_group();
}

}  // namespace

bool conv_im2col_weight_is_narrow(const ConvProblem& p) { return Cut(p).narrow; }

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
  const int64_t pixels = p.N * p.out_pixels();
  if (pixels > 0) {
    patches.plain = gather_plain_stride(patches.gather, pixels);
    gradient.plain = gather_plain_stride(gradient.gather, pixels);
  }
  const Side &rows = cut.filters_are_rows ? gradient : patches,
             &columns = cut.filters_are_rows ? patches : gradient;
  const bool in_place = cut.filters_are_rows && cut.splits == 1 && is_plain(p, dw);
  const Matrix out = in_place ? Matrix{dw.data, dw.batch} : Matrix{space.partial, cut.columns};
  parallel_for(
      cut.splits * p.G * cut.row_chunks * cut.column_chunks,
      [&](int64_t task, int slot) {
        float* scratch = space.scratch + slot * space.scratch_floats;
        if (cut.narrow)
          run_narrow_task(patches, gradient, p, cut, task, space.partial, scratch);
        else
          run_task(rows, columns, p, cut, task, out, scratch);
      },
      args.threads);
  if (in_place) return;
  parallel_for(
      p.G * div_up(p.filters_per_group(), kReduceFilters),
      [&](int64_t task, int) { reduce_task(p, cut, task, space.partial, dw); }, args.threads);
}

}  // namespace fastcnn::cpu
