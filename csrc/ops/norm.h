// Normalisation over channels: batch norm, and group norm (instance norm is one group per channel).
#pragma once

#include <optional>
#include <string>
#include <utility>

#include "common/norm.h"
#include "ops/context.h"

namespace fastcnn::ops {

using MaybeTensor = std::optional<Tensor>;

struct NormOutput {
  Tensor y;      ///< channels_last memory
  Tensor stats;  ///< (2, outer, groups) float32 (float64 for float64): mean, 1/sqrt(var + eps)
};
struct NormGradients {
  MaybeTensor dx, dweight, dbias, dresidual;
};

/// x (N, C, ...), rank 2 to 5; y = activation(normalised + residual), activation "", "relu" or "relu6". training:
/// statistics of x, and running values (if given) are updated in place; else the running values are the statistics.
NormOutput batch_norm_forward(const Tensor& x, const MaybeTensor& weight, const MaybeTensor& bias,
                              const MaybeTensor& running_mean, const MaybeTensor& running_var, bool training,
                              double momentum, double eps, const std::string& activation = "",
                              const MaybeTensor& residual = {});
/// `stats` as returned by forward. training = false: they were constants. `activation` as in forward; `y` is forward's
/// result if there was a residual and an activation, whose gradient `dresidual` then is. x may be any tensor of dy's
/// shape if neither statistics, weight nor activation need it. over_dy: the caller is done with dy, and `dresidual` or
/// else dx takes its memory if it lies in channels_last order.
NormGradients batch_norm_backward(const Tensor& x, const Tensor& dy, const MaybeTensor& weight,
                                  const MaybeTensor& bias, const Tensor& stats, bool training, bool want_dx,
                                  bool want_dweight, bool want_dbias, const std::string& activation = "",
                                  const MaybeTensor& y = {}, bool over_dy = false);

/// Running values (instance norm only) take the average over the samples of mean and unbiased variance.
NormOutput group_norm_forward(const char* op, const Tensor& x, int64_t groups, const MaybeTensor& weight,
                              const MaybeTensor& bias, double eps, const MaybeTensor& running_mean = {},
                              const MaybeTensor& running_var = {}, double momentum = 0);
NormGradients group_norm_backward(const char* op, const Tensor& x, const Tensor& dy, int64_t groups,
                                  const MaybeTensor& weight, const Tensor& stats, bool want_dx,
                                  bool want_dweight, bool want_dbias, bool over_dy = false);

/// Layer norm (center) or RMS norm over the last axes of x, which are weight's and bias's; stats (2, rows).
NormOutput row_norm_forward(const char* op, const Tensor& x, const Dims& normalized_shape,
                            const MaybeTensor& weight, const MaybeTensor& bias, double eps, bool center);
NormGradients row_norm_backward(const char* op, const Tensor& x, const Tensor& dy,
                                const Dims& normalized_shape, const MaybeTensor& weight, const Tensor& stats,
                                bool center, bool want_dx, bool want_dweight, bool want_dbias);

/// x (N, C, ...). Backward computes the divisors again from x, the only saved tensor.
Tensor local_response_norm_forward(const Tensor& x, int64_t size, double alpha, double beta, double k);
Tensor local_response_norm_backward(const Tensor& x, const Tensor& dy, int64_t size, double alpha,
                                    double beta, double k);

}  // namespace fastcnn::ops
