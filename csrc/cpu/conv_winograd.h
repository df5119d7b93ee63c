// The passes of the winograd row (conv_winograd*.cpp). forward and backward_input are one product each; each takes its
// workspace apart in the function that computes its size.
#pragma once

#include "common/algo.h"
#include "cpu/conv_patches.h"
#include "cpu/conv_winograd_tiles.h"

namespace fastcnn::cpu {

/// Transformed filters: for each part of `part_columns` output channels, for each position, a matrix of input channels
/// by columns in the panels that the GEMM kernel reads.
struct WinogradFilters {
  int64_t rows, columns;  ///< input and output channels of the product
  int points_h, points_w;
  int64_t part_columns, parts;  ///< a function of the problem only
  int64_t position, part;       ///< floats from one to the next
  WinogradFilters(int64_t rows, int64_t columns, const WinogradGrid& grid);
  size_t floats() const { return parts * part; }
  /// Width of a panel under the ISA in force.
  int64_t panel() const;
  /// Scratch for pack(), of one thread.
  static constexpr size_t kPackFloats = 9 * 32 * 64;
  /// The tasks that fill `packed`; `w` is (columns, rows, ...) or, for backward_input, (rows, columns, ...) turned round.
  int64_t pack_tasks() const;
  void pack(const Volume& w, bool turned, int64_t task, float* packed, float* scratch) const;
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
