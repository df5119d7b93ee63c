// The passes of the winograd row (conv_winograd*.cpp). forward and backward_input are one product each; each takes its
// workspace apart in the function that computes its size.
#pragma once

#include "common/algo.h"
#include "cpu/conv_patches.h"
#include "cpu/conv_winograd_tiles.h"

namespace fastcnn::cpu {

/// Transformed filters: for each part of `part_columns` output channels, for each position, a matrix of input channels
/// by columns in the panels that the GEMM kernel reads. Where only one product uses a part they are never stored as a
/// whole: the product makes them chunk by chunk of input channels.
struct WinogradFilters {
  WinogradForm form;
  int64_t rows, columns;  ///< input and output channels of the product
  int points_h, points_w;
  int64_t part_columns, parts;  ///< a function of the problem only
  int64_t block_tiles;          ///< in a block at most, where tiles make several
  bool
      used_once;  ///< tiles make one block, or two on several threads: parts are not stored unless they are small
  int64_t chunks;      ///< tasks of packing a part
  int64_t chunk_rows;  ///< input channels at a time, where they are not stored
  int64_t
      sum_rows;  ///< so many of each term of a product after one another, whatever the chunks; 0: one term
  int64_t position, part;  ///< floats from one to the next, where all are stored
  int64_t chunk_position;  ///< the same of one chunk
  WinogradFilters(int64_t rows, int64_t columns, const WinogradGrid& grid);
  size_t floats() const { return parts * part; }
  size_t chunk_floats() const { return points_h * points_w * chunk_position; }
  /// Width of a panel under the ISA in force.
  int64_t panel() const;
  /// Scratch for pack, of one thread.
  static constexpr size_t kPackFloats = 9 * 32 * 64;
  /// Chunk number `chunk` of a part into `all`, which holds floats(); `w` is (columns, rows, ...) or, for
  /// backward_input, (rows, columns, ...) turned round, taps too.
  void pack(const Volume& w, bool turned, int64_t part, int64_t chunk, float* all, float* scratch) const;
  /// At most chunk_rows rows of a part, from a multiple of it on, into `some`, which holds chunk_floats().
  void pack_rows(const Volume& w, bool turned, int64_t part, int64_t first, int64_t count, float* some,
                 float* scratch) const;

 private:
  void pack_to(const Volume& w, bool turned, int64_t part, int64_t chunk, float* values, int64_t position,
               int64_t depth, bool stream, float* scratch) const;
};

size_t conv_winograd_product_bytes(const ConvProblem& p, Pass pass, int threads);
void conv_winograd_forward(const ConvArgs& args);
void conv_winograd_backward_input(const ConvArgs& args);
size_t conv_winograd_weight_bytes(const ConvProblem& p, int threads);
void conv_winograd_backward_weight(const ConvArgs& args);

/// Microseconds, from the multiplications that are left, the bytes of the transforms and the filters.
double conv_winograd_estimate(const ConvProblem& p, Pass pass, const DeviceProps& props);

/// The tiles of a pass: of x in backward_input, of y in the others.
WinogradGrid conv_winograd_grid(const ConvProblem& p, Pass pass);
/// x with the prologue of `args`, whose vectors are copied to `prologue` (2 * C floats); `zeros` holds C of them.
WinogradSource conv_winograd_input(const ConvArgs& args, const float* zeros, float* prologue);

}  // namespace fastcnn::cpu
