#include "cuda/softmax.h"

#include "cpu/loss.h"
#include "ops/loss.h"
#include "ops/row_layout.h"

namespace fastcnn::ops {

namespace {

SoftmaxParams params_of(const Tensor& x, const Tensor& y, int axis, bool log) {
  SoftmaxParams p{};
  p.dtype = x.dtype;
  p.log = log;
  p.classes = x.shape[axis];
  p.positions = p.classes ? x.numel() / p.classes : 0;
  p.x = rows_of(x, axis);
  p.y = rows_of(y, axis);
  p.x_data = x.raw();
  p.y_data = y.raw();
  return p;
}

// A single number is a row of one.
int axis_of(const char* op, const Tensor& x, int64_t axis) {
  return normalize_axis(axis, x.ndim() ? x.ndim() : 1, op);
}

}  // namespace

Tensor softmax_forward(const Tensor& x, int64_t axis, bool log) {
  const char* op = log ? "log_softmax" : "softmax";
  const OpScope scope(op);
  check_float(op, x);
  const int at = axis_of(op, x, axis);
  if (!x.ndim()) return softmax_forward(x.unsqueeze(0), 0, log).select(0, 0);
  Tensor y = empty_like(x);
  if (y.numel())
    launch(context_of(x), op, params_of(x, y, at, log), cpu::softmax_forward, FC_CUDA(softmax_forward));
  return y;
}

Tensor softmax_backward(const Tensor& y, const Tensor& dy, int64_t axis, bool log) {
  const char* op = log ? "log_softmax" : "softmax";
  const OpScope scope(op);
  check_same_device(op, {&y, &dy});
  check_same_dtype(op, {&y, &dy});
  FC_CHECK(y.shape == dy.shape, op, ": grad_output has shape ", to_string(dy.shape), ", expected ",
           to_string(y.shape));
  const int at = axis_of(op, y, axis);
  if (!y.ndim()) return softmax_backward(y.unsqueeze(0), dy.unsqueeze(0), 0, log).select(0, 0);
  Tensor dx = empty_like(y);
  if (!dx.numel()) return dx;
  SoftmaxParams p = params_of(y, dx, at, log);
  p.dy = rows_of(dy, at);
  p.dy_data = dy.raw();
  launch(context_of(y), op, p, cpu::softmax_backward, FC_CUDA(softmax_backward));
  return dx;
}

}  // namespace fastcnn::ops
