// Parameters of the normalisations.
#pragma once

#include "common/tensor.h"

namespace fastcnn {

/// Batch, group and instance normalisation are one problem: a matrix of `outer` x `rows` rows and `channels` columns
/// (channels-last memory), normalised within each (outer, group) over its rows and the group's channels.
///   batch norm     outer 1, rows N*H*W, groups = channels
///   group norm     outer N, rows H*W;  instance norm is groups = channels
/// Statistics: one pass over memory. Blocks that fit the first cache level are summed twice (mean, then squares
/// about that mean) and merged by Chan, Golub and LeVeque's formula in float64, in an order fixed by the problem.
struct NormProblem {
  DType dtype;
  int64_t outer, rows, channels, groups;
  double eps;
  /// Rows are cut into `chunks` per outer index: tasks, and float64 partial sums of 2 * channels each.
  int64_t chunks() const {
    constexpr int64_t kChunkElems = 65536, kMaxChunks = 64;
    const int64_t wanted = (rows * channels + kChunkElems - 1) / kChunkElems;
    return wanted < 1 ? 1 : (wanted > kMaxChunks ? kMaxChunks : wanted);
  }
  size_t workspace_bytes() const { return size_t(outer * chunks() * channels) * 2 * sizeof(double); }
  int64_t group_size() const { return rows * (channels / groups); }
};

/// x, y, dx: (outer, rows, channels) dense. weight, bias: (channels,) or nullptr, any stride.
/// stats: accumulator type (float32, or float64 for float64), (2, outer, groups): mean, then 1/sqrt(var + eps).
struct NormForwardParams {
  NormProblem problem;
  const void *x, *weight, *bias;
  int64_t weight_stride, bias_stride;
  void *y, *stats;
  bool given_stats;                  ///< stats come from the running values below instead of x
  void *running_mean, *running_var;  ///< nullptr, or x's dtype: read if given_stats, else updated
  int64_t running_mean_stride, running_var_stride;
  double momentum;  ///< running = (1 - momentum) * running + momentum * new; var unbiased
  double* partial;  ///< workspace, unless given_stats
};

/// dx and dweight, dbias (x's dtype, dense); each may be nullptr.
struct NormBackwardParams {
  NormProblem problem;
  const void *x, *dy, *weight, *stats;
  int64_t weight_stride;
  void *dx, *dweight, *dbias;
  bool given_stats;  ///< statistics were constants: dx = dy * weight * invstd
  double* partial;
};

}  // namespace fastcnn
