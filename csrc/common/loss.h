// Parameters of softmax and of the losses.
#pragma once

#include "common/host_device.h"
#include "common/tensor.h"

namespace fastcnn {

enum class Reduction : uint8_t { none, mean, sum };

/// Where the rows of a tensor lie: the positions of all axes but one, and the step along that one.
struct RowLayout {
  int ndim;
  int64_t shape[kMaxDims], strides[kMaxDims];  ///< of the other axes, outermost first
  int64_t step;                                ///< along the axis itself
  FC_BOTH int64_t offset(int64_t position) const {
    int64_t at = 0;
    for (int i = ndim - 1; i >= 0; --i) {
      at += position % shape[i] * strides[i];
      position /= shape[i];
    }
    return at;
  }
};

/// Softmax cross entropy over `classes` logits at each of `positions` positions (batch and pixels).
///   loss_i = sum over c of t_c w_c (lse - x_c),  lse = log sum exp x,  t = (1 - smoothing) target + smoothing / classes
/// with target a class index (one-hot) or probabilities. `mean` divides by the sum of w at the targets of positions
/// that are not ignored; with probabilities by the number of positions.
struct CrossEntropyParams {
  DType dtype, target_dtype;
  int64_t positions, classes;
  RowLayout logits, target, dx;  ///< target.step only with probabilities
  const void *x, *t, *weight;    ///< weight (classes,) or nullptr
  int64_t weight_stride;
  bool probabilities;      ///< target holds probabilities of logits' dtype, else class indices
  bool log_probabilities;  ///< x is log-softmax already (nll_loss): lse = 0
  int64_t ignore_index;
  double smoothing;
  Reduction reduction;
  /// forward: `loss` (positions or one), `saved`: accumulator type, lse of each position, then the mean's divisor
  void *loss, *saved;
  double* partial;  ///< workspace: 2 * tasks
  /// backward: dloss (positions or one, contiguous), dx or nullptr, dt (target's gradient, laid out as x) or nullptr
  const void* dloss;
  void *out_dx, *out_dt;

  static constexpr int64_t kTaskElems = 16384;
  int64_t positions_per_task() const {
    return classes < kTaskElems ? kTaskElems / (classes > 0 ? classes : 1) : 1;
  }
  int64_t tasks() const { return (positions + positions_per_task() - 1) / positions_per_task(); }
};

/// Softmax family along one axis. backward: x is the forward output, dy its gradient, y gets dx.
struct SoftmaxParams {
  DType dtype;
  bool log;
  int64_t positions, classes;
  RowLayout x, y, dy;
  const void *x_data, *dy_data;
  void* y_data;
};

enum class LossKind : uint8_t {
  mse,
  l1,
  smooth_l1,
  huber,
  bce,
  bce_logits,
  kl_div,
  kl_div_log,
  focal,
  count
};

/// loss(x, t; p0, p1) * w for each element, reduced. A nest of loops over operands with strides (0: broadcast).
struct PointwiseLossParams {
  enum Operand : uint8_t { kX, kTarget, kWeight, kPosWeight, kLoss, kDLoss, kDx, kDTarget, kOperands };
  LossKind kind;
  Reduction reduction;
  DType dtype;
  double p0, p1;
  double divisor;  ///< of `mean`
  int ndim;
  int64_t shape[kMaxDims], strides[kOperands][kMaxDims], numel;
  void* data[kOperands];  ///< nullptr: absent (weights are 1)
  double* partial;        ///< forward, unless `none`: one per task

  static constexpr int64_t kTaskElems = 16384;
  int64_t tasks() const { return (numel + kTaskElems - 1) / kTaskElems; }
};

}  // namespace fastcnn
