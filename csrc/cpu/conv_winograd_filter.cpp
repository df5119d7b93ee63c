#include <algorithm>

#include "cpu/conv_winograd.h"
#include "cpu/isa.h"

namespace fastcnn::cpu {
namespace {

constexpr int64_t kPartColumns = 64;         // the widest panel of every ISA
constexpr int64_t kVector = 16;              // the widest vector
constexpr int64_t kPackRows = 32;            // of one task
constexpr size_t kStreamFloats = 256 << 10;  // written past the caches: 1 MiB does not stay in L2 anyway
constexpr size_t kSmallFloats = 128 << 10;   // stays in L2: may as well be stored, and kept in evaluation
constexpr int64_t kBlockTiles = 24;          // V and M in L2, U streams from L3
constexpr int64_t kWideBlockTiles = 48;      // where U streams from memory
constexpr size_t kWideFloats = 4 << 20;
constexpr int64_t kLeastParts = 4;  // tasks, where many tiles make one block
constexpr int64_t kLeastRows = 2 * kPackRows,
                  kMostRows = 8 * kPackRows;  // of a chunk, where U is made on the way
constexpr int64_t kSumRows = 128;             // of up to four terms
constexpr int64_t kSetSkew = 16;              // keeps positions off one another's cache sets

int64_t div_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

/// Filters as (K, C, 1, 3, 3) memory.
bool has_plain_taps(const Volume& w) { return w.axis[2] == 1 && w.axis[1] == 3 && w.channel == 9; }

}  // namespace

WinogradFilters::WinogradFilters(int64_t rows, int64_t columns, const WinogradGrid& grid)
    : form(grid.h.form), rows(rows), columns(columns), points_h(grid.h.points()), points_w(grid.w.points()) {
  part_columns = std::min(kPartColumns, div_up(columns, kVector) * kVector);
  parts = div_up(columns, part_columns);
  chunks = div_up(rows, kPackRows);
  position = rows * part_columns + kSetSkew;
  part = points_h * points_w * position;
  // To store U that leaves L2 and to read it again for each block costs more than larger blocks, whose V leaves L2.
  const int64_t tiles = grid.tiles();
  block_tiles = floats() > kWideFloats ? kWideBlockTiles : kBlockTiles;
  used_once = (tiles <= block_tiles && floats() > kSmallFloats) ||
              (tiles <= kWinogradBlockTiles && parts >= kLeastParts && floats() > kStreamFloats);
  // M is read and written once for each chunk: the chunk is the larger of the two.
  chunk_rows = std::min(std::clamp(div_up(2 * tiles, kPackRows) * kPackRows, kLeastRows, kMostRows), rows);
  sum_rows = form == WinogradForm::stride2 ? kSumRows : 0;
  if (sum_rows) chunk_rows = std::min(sum_rows, rows);
  chunk_position = chunk_rows * part_columns + kSetSkew;
}

int64_t WinogradFilters::panel() const { return std::min<int64_t>(kernels().gemm.nr, part_columns); }

void WinogradFilters::pack(const Volume& w, bool turned, int64_t p, int64_t chunk, float* all,
                           float* scratch) const {
  // Only whole lines are worth it: halves of 36 lines at a time overflow the write buffers.
  const bool stream = kernels().gemm.lanes == kVector && floats() > kStreamFloats;
  pack_to(w, turned, p, chunk, all + p * part + chunk * kPackRows * panel(), position, rows, stream, scratch);
}

void WinogradFilters::pack_rows(const Volume& w, bool turned, int64_t p, int64_t first, int64_t count,
                                float* some, float* scratch) const {
  for (int64_t row = first; row < first + count; row += kPackRows)
    pack_to(w, turned, p, row / kPackRows, some + (row - first) * panel(), chunk_position, chunk_rows, false,
            scratch);
}

void WinogradFilters::pack_to(const Volume& w, bool turned, int64_t p, int64_t chunk, float* values,
                              int64_t position, int64_t depth, bool stream, float* scratch) const {
  const Kernels& isa = kernels();
  const int64_t first = chunk * kPackRows, count = std::min(kPackRows, rows - first);
  const int64_t begin = p * part_columns, end = std::min(begin + part_columns, columns);
  const int64_t width = panel();
  const int64_t by_row = turned ? w.batch : w.channel, by_column = turned ? w.channel : w.batch;
  for (int64_t j = begin; j < end; j += width) {
    const float* source = w.data + first * by_row + j * by_column;
    const int64_t lanes = std::min(width, end - j);
    WinogradFilter f{scratch, count * width, width, {}, width, points_h, points_w, count, width, stream};
    if (!has_plain_taps(w)) {
      for (int tap = 0; tap < 9; ++tap)
        isa.pack.matrix(source + tap / 3 * w.axis[1] + tap % 3 * w.axis[2], by_row, by_column, count, lanes,
                        scratch + tap * f.tap, width, width);
    } else if (turned) {
      f.tap = width;
      f.taps_row = 9 * width;
      for (int64_t i = 0; i < count; ++i)
        isa.pack.filter(source + i * by_row, by_column, lanes, 9, 1, 0, 1, scratch + i * f.taps_row, width);
    } else {
      isa.pack.filter(source, by_column, lanes, 9, count, 0, count, scratch, width);
    }
    if (turned) {
      f.taps += 8 * f.tap;
      f.tap = -f.tap;
    }
    f.values = {values + (j - begin) * depth, points_w * position, position};
    isa.winograd.form[int(form)].filter(&f);
  }
}

}  // namespace fastcnn::cpu
