#include "ops/dropout.h"

#include <algorithm>

#include "cpu/dropout.h"
#include "cuda/dropout.h"
#include "ops/elementwise.h"

namespace fastcnn::ops {

namespace {

void check_probability(const char* op, double p) {
  FC_CHECK(p >= 0 && p <= 1, op, ": p is ", p, ", expected a probability of dropping from 0 to 1");
}

// 1/(1-p) with the p that was asked for; at p = 1 nothing survives, so the factor does not matter.
double survivor_scale(double p) { return p < 1 ? 1 / (1 - p) : 0; }

}  // namespace

Tensor dropout(const char* op, const Tensor& x, const Dims& mask_shape, double p, double scale, double shift,
               double dropped, const RandomKey& key) {
  const OpScope scope(op);
  check_float(op, x);
  check_probability(op, p);
  FC_CHECK(mask_shape.n == x.ndim(), op, ": noise_shape has ", mask_shape.n, " entries ",
           to_string(mask_shape), ", expected one per axis of ", to_string(x.shape));
  for (int i = 0; i < x.ndim(); ++i)
    FC_CHECK(mask_shape[i] == x.shape[i] || mask_shape[i] == 1, op, ": noise_shape is ",
             to_string(mask_shape), ", expected 1 or the input's extent on each axis of ", to_string(x.shape),
             "; axis ", i, " does not fit");
  Tensor y = empty_like(x);
  if (y.numel() == 0) return y;
  DropoutParams params{};
  params.dtype = x.dtype;
  params.ndim = x.ndim();
  std::copy(x.shape.begin(), x.shape.end(), params.shape);
  std::copy(x.strides.begin(), x.strides.end(), params.x_strides);
  std::copy(y.strides.begin(), y.strides.end(), params.y_strides);
  std::copy(mask_shape.begin(), mask_shape.end(), params.mask_shape);
  params.x = x.raw();
  params.y = y.raw();
  params.key = key;
  params.threshold = drop_threshold(p);
  params.scale = scale;
  params.shift = shift;
  params.dropped = dropped;
  launch(context_of(x), op, params, cpu::dropout, FC_CUDA(dropout));
  return y;
}

namespace {

Tensor drop_connect(DropConnectParams::Pass pass, const Tensor& a, const Tensor& b, int64_t samples,
                    int64_t in_features, int64_t out_features, const Dims& out_shape, double p,
                    const RandomKey& key) {
  const char* op = "drop_connect";
  const OpScope scope(op);
  check_same_device(op, {&a, &b});
  check_same_dtype(op, {&a, &b});
  check_float(op, a);
  check_probability(op, p);
  const Tensor first = contiguous(a, false), second = contiguous(b, false);
  Tensor out = empty(out_shape, a.dtype, a.device());
  if (out.numel() == 0) return out;
  DropConnectParams params{};
  params.pass = pass;
  params.dtype = a.dtype;
  params.samples = samples;
  params.in_features = in_features;
  params.out_features = out_features;
  // forward: (x, w); backward_input: (w, dy); backward_weight: (x, dy)
  (pass == DropConnectParams::backward_input ? params.w : params.x) = first.raw();
  (pass == DropConnectParams::forward ? params.w : params.y) = second.raw();
  params.out = out.raw();
  params.key = key;
  params.threshold = drop_threshold(p);
  params.scale = survivor_scale(p);
  launch(context_of(a), op, params, cpu::drop_connect, FC_CUDA(drop_connect));
  return out;
}

void check_matrix(const char* what, const Tensor& t) {
  FC_CHECK(t.ndim() == 2, "drop_connect: ", what, " has shape ", to_string(t.shape), ", expected two axes");
}

}  // namespace

Tensor drop_connect_forward(const Tensor& x, const Tensor& w, double p, const RandomKey& key) {
  check_matrix("input", x);
  check_matrix("weight", w);
  FC_CHECK(x.shape[1] == w.shape[1], "drop_connect: input ", to_string(x.shape), " has ", x.shape[1],
           " features, expected the weight's ", w.shape[1], " (weight is ", to_string(w.shape), ")");
  return drop_connect(DropConnectParams::forward, x, w, x.shape[0], w.shape[1], w.shape[0],
                      {x.shape[0], w.shape[0]}, p, key);
}
Tensor drop_connect_backward_input(const Tensor& w, const Tensor& dy, double p, const RandomKey& key) {
  return drop_connect(DropConnectParams::backward_input, w, dy, dy.shape[0], w.shape[1], w.shape[0],
                      {dy.shape[0], w.shape[1]}, p, key);
}
Tensor drop_connect_backward_weight(const Tensor& x, const Tensor& dy, double p, const RandomKey& key) {
  return drop_connect(DropConnectParams::backward_weight, x, dy, x.shape[0], x.shape[1], dy.shape[1],
                      {dy.shape[1], x.shape[1]}, p, key);
}

}  // namespace fastcnn::ops
