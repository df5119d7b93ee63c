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

}  // namespace fastcnn::ops
