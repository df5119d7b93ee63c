// How an image is cut into Winograd tiles, how tiles form the blocks that tasks work on, and how the pixels of a tile
// are read. Extents of 2 and more are covered exactly by tiles of 4, 3 and 2: no output is computed in vain. At stride 2
// backward_input counts pairs of rows and columns of x as one.
#pragma once

#include "common/conv_problem.h"
#include "cpu/conv_winograd_form.h"
#include "cpu/patch_gemm.h"

namespace fastcnn::cpu {

/// Outputs along one axis: `large_tiles` tiles of size `large`, then tiles of size `small` (which may be equal).
struct WinogradAxis {
  WinogradForm form;
  int64_t extent, tiles, large_tiles;
  int large, small;
  WinogradAxis(WinogradForm form, int64_t extent);
  int64_t start(int64_t tile) const {
    return tile < large_tiles ? tile * large : large_tiles * large + (tile - large_tiles) * small;
  }
  int size(int64_t tile) const { return tile < large_tiles ? large : small; }
  int points() const { return large + 2; }  ///< of filters
  int inputs() const { return winograd_inputs(form, large); }
  int products() const { return winograd_products(form, large); }
  int small_products() const { return winograd_products(form, small); }
  /// count(form, size) of all tiles together.
  int64_t all(int (*count)(WinogradForm, int)) const {
    return large_tiles * count(form, large) + (tiles - large_tiles) * count(form, small);
  }
};

struct WinogradTile {
  int64_t image, row, col;     ///< of its first output
  int rows, cols;              ///< its size
  int valid_rows, valid_cols;  ///< fewer only where the extent is 1
};

struct WinogradGrid {
  int64_t images;
  WinogradAxis h, w;
  int64_t tiles() const { return images * h.tiles * w.tiles; }
  int points() const { return h.points() * w.points(); }
  int inputs() const { return h.inputs() * w.inputs(); }
  int products() const { return h.products() * w.products(); }
};

/// Consecutive tiles by kind. Those that take part at a position follow each other if the kinds stand in this order:
/// large x small, large x large, small x large, small x small (height x width).
class WinogradKinds {
 public:
  WinogradKinds(const WinogradGrid& grid, int64_t first, int64_t count);
  int count() const { return start_[4]; }
  int start(int kind) const { return start_[kind]; }
  /// The tiles that have product (i, j): first .. last - 1.
  void range(int i, int j, int* first, int* last) const {
    const bool tall = i >= small_h_, wide = j >= small_w_;
    *first = wide ? start_[1] : 0;
    *last = tall ? start_[2] : wide ? start_[3] : start_[4];
  }

 private:
  int start_[5] = {};
  int small_h_, small_w_;
};

constexpr int kWinogradBlockTiles = 128;  // at most

/// Consecutive tiles, sorted by kind.
class WinogradBlock {
 public:
  WinogradBlock(const WinogradGrid& grid, int64_t first, int64_t count);
  int count() const { return kinds_.count(); }
  const WinogradKinds& kinds() const { return kinds_; }
  const WinogradTile& operator[](int i) const { return tiles_[i]; }

 private:
  WinogradKinds kinds_;
  WinogradTile tiles_[kWinogradBlockTiles];
};

/// A tensor as tiles read it: x for its outputs, or y for its own pixels.
struct WinogradSource {
  Volume data;
  int64_t depth;      ///< images per batch item
  int64_t extent[2];  ///< height, width
  int64_t pad[2];     ///< before the first row and column; may be negative
  PadMode mode;
  int64_t channels;
  const float* zeros;  ///< as many as there are channels
  WinogradForm form = WinogradForm::stride1;
  const float *scale = nullptr, *shift = nullptr;  ///< [channels] or null
  bool relu = false;

  /// Input transform of the pixels under a tile.
  void load_input(const WinogradTile& tile, const WinogradValues& to, float* stage) const;
  /// Gradient transform of the tile's own pixels.
  void load_gradient(const WinogradTile& tile, const WinogradValues& to, float* stage) const;
  static size_t stage_floats(WinogradForm form, int64_t channels) {
    const int pixels = winograd_inputs(form, 4);
    return pixels * pixels * channels;
  }

 private:
  struct Window {  ///< pixels of one axis
    int64_t first;
    int count, valid;  ///< those past `valid` are zero
  };
  void find_pixels(const WinogradTile& tile, const Window& h, const Window& w, float* stage,
                   const float** pixel) const;
};

}  // namespace fastcnn::cpu
