// How an image is cut into Winograd tiles, how tiles form the blocks that tasks work on, and how the pixels of a tile
// are read. Extents of 2 and more are covered exactly by tiles of 4, 3 and 2: no output is computed in vain.
#pragma once

#include "common/conv_problem.h"
#include "cpu/kernels/winograd.h"
#include "cpu/patch_gemm.h"

namespace fastcnn::cpu {

/// Outputs along one axis: `large_tiles` tiles of size `large`, then tiles of size `small` (which may be equal).
struct WinogradAxis {
  int64_t extent, tiles, large_tiles;
  int large, small;
  explicit WinogradAxis(int64_t extent);
  int64_t start(int64_t tile) const {
    return tile < large_tiles ? tile * large : large_tiles * large + (tile - large_tiles) * small;
  }
  int size(int64_t tile) const { return tile < large_tiles ? large : small; }
  int points() const { return large + 2; }
  int small_points() const { return small + 2; }
  /// Points of all tiles together: what the products of one line cost.
  int64_t all_points() const { return large_tiles * points() + (tiles - large_tiles) * small_points(); }
};

struct WinogradTile {
  int64_t image, row, col;     ///< of its first output
  int rows, cols;              ///< outputs
  int valid_rows, valid_cols;  ///< fewer only where the extent is 1
};

struct WinogradGrid {
  int64_t images;
  WinogradAxis h, w;
  int64_t tiles() const { return images * h.tiles * w.tiles; }
  int points() const { return h.points() * w.points(); }
};

/// Consecutive tiles by kind. Those that take part at a position follow each other if the kinds stand in this order:
/// large x small, large x large, small x large, small x small (height x width).
class WinogradKinds {
 public:
  WinogradKinds(const WinogradGrid& grid, int64_t first, int64_t count);
  int count() const { return start_[4]; }
  int start(int kind) const { return start_[kind]; }
  /// The tiles that have position (i, j): first .. last - 1.
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
  const float* zeros;                              ///< as many as there are channels
  const float *scale = nullptr, *shift = nullptr;  ///< [channels] or null
  bool relu = false;

  /// Input transform of the pixels under a tile (with its border of 2).
  void load_input(const WinogradTile& tile, const WinogradValues& to, float* stage) const;
  /// Gradient transform of the tile's own pixels.
  void load_gradient(const WinogradTile& tile, const WinogradValues& to, float* stage) const;
  static size_t stage_floats(int64_t channels) { return kWinogradCells * channels; }

 private:
  struct Window {  ///< pixels of one axis
    int64_t first;
    int count, valid;  ///< those past `valid` are zero
  };
  void find_pixels(const WinogradTile& tile, const Window& h, const Window& w, float* stage,
                   const float** pixel) const;
};

}  // namespace fastcnn::cpu
