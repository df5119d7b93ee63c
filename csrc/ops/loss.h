// Losses. Each is one kernel forward and one backward.
#pragma once

#include <optional>
#include <string>
#include <utility>

#include "common/loss.h"
#include "ops/context.h"

namespace fastcnn::ops {

using MaybeTensor = std::optional<Tensor>;

/// "none", "mean" or "sum"; ValueError naming `op` otherwise.
Reduction parse_reduction(const char* op, const std::string& name);

struct CrossEntropyOptions {
  MaybeTensor weight;  ///< (C,)
  int64_t ignore_index = -100;
  Reduction reduction = Reduction::mean;
  double smoothing = 0;
  bool log_probabilities = false;  ///< nll_loss
};
struct CrossEntropyOutput {
  Tensor loss;   ///< scalar, or the target's positions for `none`
  Tensor saved;  ///< one number per position and one more (log sum exp; the mean's divisor)
};
/// x (C,), (N, C) or (N, C, ...); target: class indices of x's shape without the class axis (int64, int32, uint8),
/// or probabilities of x's shape and dtype.
CrossEntropyOutput cross_entropy_forward(const Tensor& x, const Tensor& target,
                                         const CrossEntropyOptions& options);
/// (dx, dtarget); the latter for probabilities only.
std::pair<MaybeTensor, MaybeTensor> cross_entropy_backward(const Tensor& x, const Tensor& target,
                                                           const Tensor& saved, const Tensor& dloss,
                                                           const CrossEntropyOptions& options, bool want_dx,
                                                           bool want_dtarget);

/// softmax (or its logarithm) along `axis`, in x's memory order.
Tensor softmax_forward(const Tensor& x, int64_t axis, bool log);
Tensor softmax_backward(const Tensor& y, const Tensor& dy, int64_t axis, bool log);

struct PointwiseLossOptions {
  LossKind kind;
  Reduction reduction;
  double p0 = 0, p1 = 0;           ///< smooth_l1: beta; huber: delta; focal: alpha (negative: none), gamma
  bool batch_mean = false;         ///< divide the sum by the batch instead of the number of elements
  MaybeTensor weight, pos_weight;  ///< broadcast to x
};
/// "mse", "l1", "smooth_l1", "huber", "bce", "bce_logits", "kl_div", "kl_div_log", "focal".
LossKind parse_loss(const std::string& name);
/// x and target of one shape and dtype.
Tensor pointwise_loss_forward(const char* op, const Tensor& x, const Tensor& target,
                              const PointwiseLossOptions& options);
std::pair<MaybeTensor, MaybeTensor> pointwise_loss_backward(const char* op, const Tensor& x,
                                                            const Tensor& target, const Tensor& dloss,
                                                            const PointwiseLossOptions& options, bool want_dx,
                                                            bool want_dtarget);

}  // namespace fastcnn::ops
