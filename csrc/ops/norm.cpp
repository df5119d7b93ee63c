#include "ops/norm.h"

#include "cpu/norm.h"
#include "cuda/norm.h"
#include "memory/kept.h"
#include "memory/workspace.h"
#include "ops/elementwise.h"

namespace fastcnn::ops {

namespace {

// Rows of channels: NHWC for ranks 3 to 5, plain rows for rank 2. A copy in that order is tagged `layout`.
Tensor as_rows(const Tensor& x) { return contiguous(x, x.ndim() > 2); }

NormProblem problem_of(const char* op, const Tensor& x, int64_t groups, bool over_batch, double eps) {
  check_float(op, x);
  FC_CHECK(x.ndim() >= 2 && x.ndim() <= 5, op, ": input has shape ", to_string(x.shape),
           ", expected (N, C) or (N, C, ...) with up to five axes");
  NormProblem p{};
  p.dtype = x.dtype;
  p.channels = x.shape[1];
  p.groups = groups;
  p.eps = eps;
  int64_t pixels = 1;
  for (int i = 2; i < x.ndim(); ++i) pixels *= x.shape[i];
  p.outer = over_batch ? 1 : x.shape[0];
  p.rows = over_batch ? x.shape[0] * pixels : pixels;
  return p;
}

const Tensor* checked(const char* op, const char* what, const MaybeTensor& t, const Tensor& x) {
  if (!t) return nullptr;
  check_same_device(op, {&x, &*t});
  check_same_dtype(op, {&x, &*t});
  FC_CHECK(t->ndim() == 1 && t->shape[0] == x.shape[1], op, ": ", what, " has shape ", to_string(t->shape),
           ", expected (", x.shape[1], ",), one entry per channel of input ", to_string(x.shape));
  return &*t;
}

void set(const Tensor* t, const void*& data, int64_t& stride) {
  data = t ? t->raw() : nullptr;
  stride = t ? t->strides[0] : 0;
}

DType stats_dtype(DType t) { return t == DType::float64 ? DType::float64 : DType::float32; }

NormActivation parse_activation(const char* op, const std::string& name) {
  if (name.empty()) return NormActivation::none;
  if (name == "relu") return NormActivation::relu;
  if (name == "relu6") return NormActivation::relu6;
  fail<ValueError>(op, ": got activation '", name, "', expected 'relu', 'relu6' or None");
}

NormOutput forward(const char* op, NormForwardParams& a, const Tensor& x, const MaybeTensor& weight,
                   const MaybeTensor& bias, const MaybeTensor& running_mean, const MaybeTensor& running_var,
                   const MaybeTensor& residual = {}) {
  const NormProblem& p = a.problem;
  const Tensor* mean = checked(op, "running_mean", running_mean, x);
  const Tensor* var = checked(op, "running_var", running_var, x);
  FC_CHECK(!mean == !var, op, ": running_mean and running_var come together, got only one");
  const bool update = mean && !a.given_stats;
  if (mean) {
    if (update) {
      check_writable(op, *mean);
      check_writable(op, *var);
    }
    a.running_mean = mean->raw();
    a.running_var = var->raw();
    a.running_mean_stride = mean->strides[0];
    a.running_var_stride = var->strides[0];
  }
  const Tensor* w = checked(op, "weight", weight, x);
  const Tensor* b = checked(op, "bias", bias, x);
  const Tensor rows = as_rows(x);
  MaybeTensor residual_rows;
  if (residual) {
    check_same_device(op, {&x, &*residual});
    check_same_dtype(op, {&x, &*residual});
    FC_CHECK(residual->shape == x.shape, op, ": residual has shape ", to_string(residual->shape),
             ", expected that of the input, ", to_string(x.shape));
    residual_rows = as_rows(*residual);
    a.residual = residual_rows->raw();
  }
  NormOutput out{empty_channels_last(x.shape, x.dtype, x.device()),
                 empty({2, p.outer, p.groups}, stats_dtype(x.dtype), x.device())};
  const Workspace workspace(x.device(), a.given_stats ? 0 : p.workspace_bytes());
  set(w, a.weight, a.weight_stride);
  set(b, a.bias, a.bias_stride);
  a.x = rows.raw();
  a.y = out.y.raw();
  a.stats = out.stats.raw();
  a.partial = static_cast<double*>(workspace.data());
  if (p.channels > 0 && p.outer > 0) launch(context_of(x), op, a, cpu::norm_forward, FC_CUDA(norm_forward));
  if (update) {
    changed(*mean);
    changed(*var);
  }
  return out;
}

NormGradients backward(const char* op, const NormProblem& p, const Tensor& x, const Tensor& dy,
                       const MaybeTensor& weight, const Tensor& stats, bool given_stats, bool want_dx,
                       bool want_dweight, bool want_dbias, const MaybeTensor& bias, NormActivation activation,
                       const MaybeTensor& y, bool over_dy) {
  check_same_device(op, {&x, &dy, &stats});
  check_same_dtype(op, {&x, &dy});
  FC_CHECK(dy.shape == x.shape, op, ": grad_output has shape ", to_string(dy.shape), ", expected ",
           to_string(x.shape));
  const Tensor* w = checked(op, "weight", weight, x);
  const Tensor* b = checked(op, "bias", bias, x);
  const Tensor x_rows = as_rows(x), dy_rows = as_rows(dy);
  NormGradients out;
  if (want_dweight) out.dweight = empty({p.channels}, x.dtype, x.device());
  if (want_dbias) out.dbias = empty({p.channels}, x.dtype, x.device());
  over_dy = over_dy && dy_rows.storage == dy.storage;
  const auto like_dy = [&] {  // the first one takes its memory
    if (!std::exchange(over_dy, false)) return empty_channels_last(x.shape, x.dtype, x.device());
    changed(dy);
    return dy.detach();
  };
  if (y) out.dresidual = like_dy();
  if (want_dx) out.dx = like_dy();
  const bool sums = want_dweight || want_dbias || y || !given_stats;
  const Workspace workspace(x.device(), sums ? p.workspace_bytes() : 0);
  NormBackwardParams a{};
  a.problem = p;
  a.x = x_rows.raw();
  a.dy = dy_rows.raw();
  set(w, a.weight, a.weight_stride);
  set(b, a.bias, a.bias_stride);
  a.activation = activation;
  a.y = y ? y->raw() : nullptr;
  a.dresidual = y ? out.dresidual->raw() : nullptr;
  a.stats = stats.raw();
  a.dx = out.dx ? out.dx->raw() : nullptr;
  a.dweight = out.dweight ? out.dweight->raw() : nullptr;
  a.dbias = out.dbias ? out.dbias->raw() : nullptr;
  a.given_stats = given_stats;
  a.partial = static_cast<double*>(workspace.data());
  if (p.channels > 0) launch(context_of(x), op, a, cpu::norm_backward, FC_CUDA(norm_backward));
  return out;
}

}  // namespace

NormOutput batch_norm_forward(const Tensor& x, const MaybeTensor& weight, const MaybeTensor& bias,
                              const MaybeTensor& running_mean, const MaybeTensor& running_var, bool training,
                              double momentum, double eps, const std::string& activation,
                              const MaybeTensor& residual) {
  const char* op = "batch_norm";
  const OpScope scope("batch_norm.forward");
  NormForwardParams a{};
  a.problem = problem_of(op, x, x.ndim() > 1 ? x.shape[1] : 0, true, eps);
  FC_CHECK(!training || a.problem.rows != 1, op, ": one value per channel in training, got input ",
           to_string(x.shape),
           ", expected N*H*W > 1 (a single value has no variance); use a larger batch or eval()");
  FC_CHECK(training || running_mean, op, ": training=False needs running_mean and running_var, got None");
  a.given_stats = !training;
  a.momentum = momentum;
  a.activation = parse_activation(op, activation);
  return forward(op, a, x, weight, bias, running_mean, running_var, residual);
}

NormGradients batch_norm_backward(const Tensor& x, const Tensor& dy, const MaybeTensor& weight,
                                  const MaybeTensor& bias, const Tensor& stats, bool training, bool want_dx,
                                  bool want_dweight, bool want_dbias, const std::string& activation,
                                  const MaybeTensor& y, bool over_dy) {
  const char* op = "batch_norm";
  const OpScope scope("batch_norm.backward");
  const NormProblem p = problem_of(op, x, x.ndim() > 1 ? x.shape[1] : 0, true, 0);
  return backward(op, p, x, dy, weight, stats, !training, want_dx, want_dweight, want_dbias, bias,
                  parse_activation(op, activation), y, over_dy);
}

NormOutput group_norm_forward(const char* op, const Tensor& x, int64_t groups, const MaybeTensor& weight,
                              const MaybeTensor& bias, double eps, const MaybeTensor& running_mean,
                              const MaybeTensor& running_var, double momentum) {
  const OpScope scope(op);
  FC_CHECK(groups >= 1 && x.ndim() >= 2 && x.shape[1] % groups == 0, op, ": ", groups,
           " groups do not divide the channels of input ", to_string(x.shape),
           ", expected num_channels % num_groups == 0");
  NormForwardParams a{};
  a.problem = problem_of(op, x, groups, false, eps);
  FC_CHECK(!running_mean || groups == x.shape[1], op, ": running statistics need one group per channel, got ",
           groups, " groups for input ", to_string(x.shape));
  a.momentum = momentum;
  return forward(op, a, x, weight, bias, running_mean, running_var);
}

NormGradients group_norm_backward(const char* op, const Tensor& x, const Tensor& dy, int64_t groups,
                                  const MaybeTensor& weight, const Tensor& stats, bool want_dx,
                                  bool want_dweight, bool want_dbias, bool over_dy) {
  const OpScope scope(op);
  const NormProblem p = problem_of(op, x, groups, false, 0);
  return backward(op, p, x, dy, weight, stats, false, want_dx, want_dweight, want_dbias, {},
                  NormActivation::none, {}, over_dy);
}

}  // namespace fastcnn::ops
