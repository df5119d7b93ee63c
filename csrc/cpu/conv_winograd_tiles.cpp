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

/// Tiles in order: images, then rows, then columns.
class TileWalk {
 public:
  TileWalk(const WinogradGrid& grid, int64_t index) : grid_(grid) {
    across_ = index % grid.w.tiles;
    index /= grid.w.tiles;
    down_ = index % grid.h.tiles;
    image_ = index / grid.h.tiles;
  }
  void next() {
    if (++across_ < grid_.w.tiles) return;
    across_ = 0;
    if (++down_ < grid_.h.tiles) return;
    down_ = 0;
    ++image_;
  }
  int kind() const {
    const bool tall = down_ < grid_.h.large_tiles, wide = across_ < grid_.w.large_tiles;
    return tall ? int(wide) : wide ? 2 : 3;
  }
  WinogradTile tile() const {
    WinogradTile t;
    t.image = image_;
    t.row = grid_.h.start(down_), t.col = grid_.w.start(across_);
    t.rows = grid_.h.size(down_), t.cols = grid_.w.size(across_);
    t.valid_rows = grid_.h.extent == 1 ? 1 : t.rows;
    t.valid_cols = grid_.w.extent == 1 ? 1 : t.cols;
    return t;
  }

 private:
  const WinogradGrid& grid_;
  int64_t image_, down_, across_;
};

}  // namespace

WinogradAxis::WinogradAxis(WinogradForm form, int64_t n)
    : form(form), extent(n), tiles((n + 3) / 4), large_tiles(tiles), large(4), small(4) {
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

WinogradKinds::WinogradKinds(const WinogradGrid& grid, int64_t first, int64_t count)
    : small_h_(grid.h.small_products()), small_w_(grid.w.small_products()) {
  int used[4] = {};
  TileWalk walk(grid, first);
  for (int64_t i = 0; i < count; ++i, walk.next()) ++used[walk.kind()];
  for (int k = 0; k < 4; ++k) start_[k + 1] = start_[k] + used[k];
}

WinogradBlock::WinogradBlock(const WinogradGrid& grid, int64_t first, int64_t count)
    : kinds_(grid, first, count) {
  int next[4];
  for (int k = 0; k < 4; ++k) next[k] = kinds_.start(k);
  TileWalk walk(grid, first);
  for (int64_t i = 0; i < count; ++i, walk.next()) tiles_[next[walk.kind()]++] = walk.tile();
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
  int64_t across[kWinogradWindow];
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
  const float* pixel[kWinogradWindow * kWinogradWindow];
  const int step = winograd_input_step(form);
  const auto window = [&](int64_t start, int64_t before, int size, int valid) {
    return Window{start * step - before, winograd_inputs(form, size), winograd_inputs(form, valid)};
  };
  find_pixels(t, window(t.row, pad[0], t.rows, t.valid_rows), window(t.col, pad[1], t.cols, t.valid_cols),
              stage, pixel);
  const WinogradLoad load{pixel, t.rows, t.cols, channels, to};
  kernels().winograd.form[int(form)].input(&load);
}

void WinogradSource::load_gradient(const WinogradTile& t, const WinogradValues& to, float* stage) const {
  const float* pixel[kWinogradWindow * kWinogradWindow];
  find_pixels(t, {t.row, t.rows, t.valid_rows}, {t.col, t.cols, t.valid_cols}, stage, pixel);
  const WinogradLoad load{pixel, t.rows, t.cols, channels, to};
  kernels().winograd.form[int(form)].gradient(&load);
}

}  // namespace fastcnn::cpu
