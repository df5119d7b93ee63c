#include "cuda/row_norm.h"

#include "cpu/norm.h"
#include "memory/workspace.h"
#include "ops/elementwise.h"
#include "ops/norm.h"

namespace fastcnn::ops {

namespace {

RowNormParams params_of(const char* op, const Tensor& x, const Dims& normalized, double eps, bool center) {
  check_float(op, x);
  const int lead = x.ndim() - normalized.n;
  bool fits = normalized.n > 0 && lead >= 0;
  for (int i = 0; fits && i < normalized.n; ++i) fits = x.shape[lead + i] == normalized[i];
  FC_CHECK(fits, op, ": normalized_shape is ", to_string(normalized), ", expected the last axes of input ",
           to_string(x.shape));
  RowNormParams p{};
  p.dtype = x.dtype;
  p.size = numel(normalized);
  p.rows = 1;
  for (int i = 0; i < lead; ++i) p.rows *= x.shape[i];
  p.eps = eps;
  p.center = center;
  return p;
}

Tensor affine(const char* op, const char* what, const Tensor& t, const Tensor& x, const Dims& normalized) {
  check_same_device(op, {&x, &t});
  check_same_dtype(op, {&x, &t});
  FC_CHECK(t.shape == normalized, op, ": ", what, " has shape ", to_string(t.shape),
           ", expected normalized_shape ", to_string(normalized));
  return contiguous(t, false);
}

DType stats_dtype(DType t) { return t == DType::float64 ? DType::float64 : DType::float32; }

}  // namespace

NormOutput row_norm_forward(const char* op, const Tensor& x, const Dims& normalized,
                            const MaybeTensor& weight, const MaybeTensor& bias, double eps, bool center) {
  const OpScope scope(op);
  RowNormParams p = params_of(op, x, normalized, eps, center);
  Tensor w, b;
  if (weight) w = affine(op, "weight", *weight, x, normalized);
  if (bias) b = affine(op, "bias", *bias, x, normalized);
  const Tensor rows = contiguous(x, false);
  NormOutput out{empty(x.shape, x.dtype, x.device()), empty({2, p.rows}, stats_dtype(x.dtype), x.device())};
  p.x = rows.raw();
  p.weight = weight ? w.raw() : nullptr;
  p.bias = bias ? b.raw() : nullptr;
  p.y = out.y.raw();
  p.stats = out.stats.raw();
  if (p.rows) launch(context_of(x), op, p, cpu::row_norm_forward, FC_CUDA(row_norm_forward));
  return out;
}

NormGradients row_norm_backward(const char* op, const Tensor& x, const Tensor& dy, const Dims& normalized,
                                const MaybeTensor& weight, const Tensor& stats, bool center, bool want_dx,
                                bool want_dweight, bool want_dbias) {
  const OpScope scope(op);
  check_same_device(op, {&x, &dy, &stats});
  check_same_dtype(op, {&x, &dy});
  FC_CHECK(dy.shape == x.shape, op, ": grad_output has shape ", to_string(dy.shape), ", expected ",
           to_string(x.shape));
  RowNormParams p = params_of(op, x, normalized, 0, center);
  Tensor w;
  if (weight) w = affine(op, "weight", *weight, x, normalized);
  const Tensor x_rows = contiguous(x, false), dy_rows = contiguous(dy, false);
  NormGradients out;
  if (want_dx) out.dx = empty(x.shape, x.dtype, x.device());
  if (want_dweight) out.dweight = empty(normalized, x.dtype, x.device());
  if (want_dbias) out.dbias = empty(normalized, x.dtype, x.device());
  const Workspace workspace(x.device(), want_dweight || want_dbias ? p.workspace_bytes() : 0);
  p.x = x_rows.raw();
  p.dy = dy_rows.raw();
  p.weight = weight ? w.raw() : nullptr;
  p.stats = stats.raw();
  p.dx = out.dx ? out.dx->raw() : nullptr;
  p.dweight = out.dweight ? out.dweight->raw() : nullptr;
  p.dbias = out.dbias ? out.dbias->raw() : nullptr;
  p.partial = static_cast<double*>(workspace.data());
  if (p.size) launch(context_of(x), op, p, cpu::row_norm_backward, FC_CUDA(row_norm_backward));
  return out;
}

// ---- local response norm ----------------------------------------------------------------------------------------

namespace {

LrnParams lrn_params(const Tensor& x, int64_t size, double alpha, double beta, double k) {
  const char* op = "local_response_norm";
  check_float(op, x);
  FC_CHECK(x.ndim() >= 3, op, ": input has shape ", to_string(x.shape),
           ", expected (N, C, ...) with 3 axes or more");
  FC_CHECK(size >= 1, op, ": size is ", size, ", expected at least 1 channel");
  LrnParams p{};
  p.dtype = x.dtype;
  p.channels = x.shape[1];
  p.size = size;
  p.alpha = alpha;
  p.beta = beta;
  p.k = k;
  p.positions = 1;
  for (int i = 0; i < x.ndim(); ++i) {
    if (i == 1) continue;
    p.shape[p.ndim] = x.shape[i];
    p.positions *= x.shape[i];
    ++p.ndim;
  }
  return p;
}

void place(const Tensor& t, int64_t* strides, int64_t& step) {
  int n = 0;
  for (int i = 0; i < t.ndim(); ++i) {
    if (i == 1) {
      step = t.strides[i];
    } else {
      strides[n++] = t.strides[i];
    }
  }
}

// Positions are numbered with the channels left out, so logical order is memory order for both layouts.
Tensor run(LrnParams& p, const Tensor& x, const Tensor* dy) {
  Tensor y = empty_channels_last(x.shape, x.dtype, x.device());
  p.threads = context_of(x).props().threads;
  const Workspace workspace(x.device(), size_t(p.threads) * 2 * size_t(p.channels) * sizeof(double));
  p.scratch = static_cast<double*>(workspace.data());
  place(x, p.x_strides, p.x_step);
  place(y, p.y_strides, p.y_step);
  if (dy) place(*dy, p.dy_strides, p.dy_step);
  p.x = x.raw();
  p.dy = dy ? dy->raw() : nullptr;
  p.y = y.raw();
  if (y.numel())
    launch(context_of(x), "local_response_norm", p,
           dy ? cpu::local_response_norm_backward : cpu::local_response_norm_forward,
           dy ? FC_CUDA(local_response_norm_backward) : FC_CUDA(local_response_norm_forward));
  return y;
}

}  // namespace

Tensor local_response_norm_forward(const Tensor& x, int64_t size, double alpha, double beta, double k) {
  const OpScope scope("local_response_norm");
  LrnParams p = lrn_params(x, size, alpha, beta, k);
  return run(p, x, nullptr);
}

Tensor local_response_norm_backward(const Tensor& x, const Tensor& dy, int64_t size, double alpha,
                                    double beta, double k) {
  const OpScope scope("local_response_norm");
  check_same_device("local_response_norm", {&x, &dy});
  check_same_dtype("local_response_norm", {&x, &dy});
  FC_CHECK(dy.shape == x.shape, "local_response_norm: grad_output has shape ", to_string(dy.shape),
           ", expected ", to_string(x.shape));
  LrnParams p = lrn_params(x, size, alpha, beta, k);
  return run(p, x, &dy);
}

}  // namespace fastcnn::ops
