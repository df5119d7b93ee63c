// Parameters of the normalisations.
#pragma once

#include "common/host_device.h"
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

/// Mean and sum of squared distances from it of `count` numbers; merged as Chan, Golub and LeVeque do.
struct Moments {
  double count = 0, mean = 0, m2 = 0;
  FC_BOTH void merge(double n, double other_mean, double other_m2) {
    if (n == 0) return;
    const double delta = other_mean - mean, total = count + n;
    mean += delta * (n / total);
    m2 += other_m2 + delta * delta * (count * n / total);
    count = total;
  }
};

/// What a normalisation applies to its result in the same pass.
enum class NormActivation : int { none, relu, relu6 };

/// x, y, dx: (outer, rows, channels) dense. weight, bias: (channels,) or nullptr, any stride.
/// stats: accumulator type (float32, or float64 for float64), (2, outer, groups): mean, then 1/sqrt(var + eps).
struct NormForwardParams {
  NormProblem problem;
  const void *x, *weight, *bias;
  const void* residual;  ///< as x, or nullptr: y = activation(normalised + residual)
  NormActivation activation;
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
  const void *x, *dy, *weight, *bias, *stats;
  const void* y;  ///< only if a residual was added before an activation
  NormActivation activation;
  int64_t weight_stride, bias_stride;
  void *dx, *dweight, *dbias;
  void* dresidual;   ///< with y, and as large: dy where the activation was open
  bool given_stats;  ///< statistics were constants: dx = dy * weight * invstd
  double* partial;
};

/// Layer norm and RMS norm: each of `rows` dense rows of `size` elements is normalised by its own statistics.
/// weight, bias: (size,) dense or nullptr. stats: (2, rows) in the accumulator type: mean (0 unless `center`), and
/// 1/sqrt(var + eps), or for RMS norm 1/sqrt(mean of squares + eps).
struct RowNormParams {
  DType dtype;
  int64_t rows, size;
  double eps;
  bool center;
  const void *x, *weight, *bias, *dy;
  void *y, *stats;             ///< forward
  void *dx, *dweight, *dbias;  ///< backward; each may be nullptr
  double* partial;             ///< backward workspace if dweight or dbias: chunks() rows of 2 * size

  int64_t chunks() const {
    constexpr int64_t kChunkElems = 65536, kMaxChunks = 64;
    const int64_t wanted = (rows * size + kChunkElems - 1) / kChunkElems;
    const int64_t most = rows < kMaxChunks ? rows : kMaxChunks;
    return wanted < 1 || most < 1 ? 1 : (wanted > most ? most : wanted);
  }
  size_t workspace_bytes() const { return size_t(chunks() * size) * 2 * sizeof(double); }
};

/// Local response norm across channels: y_c = x_c (k + alpha/size * sum of x^2 over channels c - size/2 ..
/// c + (size-1)/2)^-beta. Positions are all other axes; `step` is the stride along the channels.
struct LrnParams {
  DType dtype;
  int64_t channels, size;
  double alpha, beta, k;
  int ndim;
  int64_t shape[kMaxDims], positions;  ///< of the other axes, outermost first
  int64_t x_strides[kMaxDims], y_strides[kMaxDims], dy_strides[kMaxDims];
  int64_t x_step, y_step, dy_step;
  const void *x, *dy;  ///< dy: backward only
  void* y;             ///< forward: y; backward: dx
  double* scratch;     ///< 2 * channels numbers for each of `threads`
  int threads;
};

}  // namespace fastcnn
