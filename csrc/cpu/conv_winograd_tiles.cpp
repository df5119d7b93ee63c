#include "cpu/conv_winograd_tiles.h"

#include "cpu/isa.h"

namespace fastcnn::cpu {
namespace {

int gather_padding(PadMode mode) {
  switch (mode) {
    case PadMode::reflect: return kPadReflect;
    case PadMode::replicate: return kPadReplicate;
    case PadMode::circular: return kPadCircular;
    default: return kPadZeros;
  }
}

}  // namespace

WinogradAxis::WinogradAxis(int64_t n)
    : extent(n), tiles((n + 3) / 4), large_tiles(tiles), large(4), small(4) {
  const int64_t missing = 4 * tiles - n;
  if (n <= 2) {
    large = small = 2;
  } else if (n == 5) {
    large = 3, small = 2, large_tiles = 1;
  } else if (missing == tiles) {
    large = small = 3;  // 3, 6 and 9
  } else if (missing > 0) {
    small = 3, large_tiles = tiles - missing;
  }
}

WinogradTile WinogradGrid::tile(int64_t index) const {
  const int64_t across = index % w.tiles, down = index / w.tiles % h.tiles;
  WinogradTile t;
  t.image = index / w.tiles / h.tiles;
  t.row = h.start(down), t.col = w.start(across);
  t.rows = h.size(down), t.cols = w.size(across);
  t.valid_rows = h.extent == 1 ? 1 : t.rows;
  t.valid_cols = w.extent == 1 ? 1 : t.cols;
  return t;
}

WinogradBlock::WinogradBlock(const WinogradGrid& grid, int64_t first, int64_t count)
    : small_h_(grid.h.small_points()), small_w_(grid.w.small_points()) {
  const auto kind = [&](const WinogradTile& t) {
    const bool tall = t.rows == grid.h.large, wide = t.cols == grid.w.large;
    return tall ? int(wide) : wide ? 2 : 3;
  };
  int used[4] = {};
  for (int64_t i = 0; i < count; ++i) ++used[kind(grid.tile(first + i))];
  start_[0] = 0;
  for (int k = 0; k < 4; ++k) start_[k + 1] = start_[k] + used[k];
  int next[4] = {start_[0], start_[1], start_[2], start_[3]};
  for (int64_t i = 0; i < count; ++i) {
    const WinogradTile t = grid.tile(first + i);
    tiles_[next[kind(t)]++] = t;
  }
}

void WinogradBlock::range(int i, int j, int* first, int* last) const {
  const bool tall = i >= small_h_, wide = j >= small_w_;
  *first = wide ? start_[1] : 0;
  *last = tall ? start_[2] : wide ? start_[3] : start_[4];
}

void WinogradSource::find_pixels(const WinogradTile& t, const Window& h, const Window& w, float* stage,
                                 const float** pixel) const {
  const float* base = data.data + t.image / depth * data.batch + t.image % depth * data.axis[0];
  if (data.channel != 1 || scale || relu) {
    Gather g{};
    g.source = base;
    g.channels = channels;
    g.channel_stride = data.channel;
    g.padding = gather_padding(mode);
    g.scale = scale;
    g.shift = shift;
    g.relu = relu;
    g.axis[0] = {1, 0, 1, 1, 1, 0, 1};
    g.axis[1] = {extent[0], data.axis[1], h.valid, 1, 1, h.first, 1};
    g.axis[2] = {extent[1], data.axis[2], w.valid, 1, 1, w.first, 1};
    kernels().gather.rows(&g, 0, h.valid * w.valid, 0, channels, stage, channels);
    for (int i = 0; i < h.count; ++i)
      for (int j = 0; j < w.count; ++j)
        *pixel++ = i < h.valid && j < w.valid ? stage + (i * w.valid + j) * channels : zeros;
    return;
  }
  int64_t across[kWinogradPoints];
  for (int j = 0; j < w.count; ++j)
    across[j] = j < w.valid ? conv_input_index(w.first, j, 1, 1, 0, extent[1], mode) : -1;
  for (int i = 0; i < h.count; ++i) {
    const int64_t down = i < h.valid ? conv_input_index(h.first, i, 1, 1, 0, extent[0], mode) : -1;
    const float* line = base + down * data.axis[1];
    for (int j = 0; j < w.count; ++j)
      *pixel++ = down < 0 || across[j] < 0 ? zeros : line + across[j] * data.axis[2];
  }
}

void WinogradSource::load_input(const WinogradTile& t, const WinogradValues& to, float* stage) const {
  const float* pixel[kWinogradCells];
  find_pixels(t, {t.row - pad[0], t.rows + 2, t.valid_rows + 2},
              {t.col - pad[1], t.cols + 2, t.valid_cols + 2}, stage, pixel);
  const WinogradLoad load{pixel, t.rows, t.cols, channels, to};
  kernels().winograd.input(&load);
}

void WinogradSource::load_gradient(const WinogradTile& t, const WinogradValues& to, float* stage) const {
  const float* pixel[kWinogradCells];
  find_pixels(t, {t.row, t.rows, t.valid_rows}, {t.col, t.cols, t.valid_cols}, stage, pixel);
  const WinogradLoad load{pixel, t.rows, t.cols, channels, to};
  kernels().winograd.gradient(&load);
}

}  // namespace fastcnn::cpu
