#include "cuda/cross_entropy.h"

#include "cpu/loss.h"
#include "memory/workspace.h"
#include "ops/elementwise.h"
#include "ops/loss.h"
#include "ops/row_layout.h"

namespace fastcnn::ops {

Reduction parse_reduction(const char* op, const std::string& name) {
  if (name == "none") return Reduction::none;
  if (name == "mean") return Reduction::mean;
  if (name == "sum") return Reduction::sum;
  fail<ValueError>(op, ": reduction is '", name, "', expected 'none', 'mean' or 'sum'");
}

namespace {

// The class axis is 1, or 0 for a single position (C,).
int class_axis(const Tensor& x) { return x.ndim() == 1 ? 0 : 1; }

Dims positions_of(const Tensor& x) {
  Dims out;
  for (int i = 0; i < x.ndim(); ++i)
    if (i != class_axis(x)) out.push_back(x.shape[i]);
  return out;
}

CrossEntropyParams params_of(const Tensor& x, const Tensor& target, const CrossEntropyOptions& o) {
  const char* op = o.log_probabilities ? "nll_loss" : "cross_entropy";
  check_same_device(op, {&x, &target});
  check_float(op, x);
  FC_CHECK(x.ndim() >= 1, op, ": input is a single number, expected (C,), (N, C) or (N, C, ...)");
  CrossEntropyParams p{};
  const int axis = class_axis(x);
  const Dims positions = positions_of(x);
  p.dtype = x.dtype;
  p.target_dtype = target.dtype;
  p.classes = x.shape[axis];
  p.positions = numel(positions);
  p.probabilities = is_float(target.dtype);
  p.log_probabilities = o.log_probabilities;
  if (p.probabilities) {
    FC_CHECK_TYPE(!o.log_probabilities, op, ": target is ", name_of(target.dtype),
                  ", expected class indices (int64, int32 or uint8)");
    check_same_dtype(op, {&x, &target});
    FC_CHECK(target.shape == x.shape, op, ": target probabilities have shape ", to_string(target.shape),
             ", expected the input's ", to_string(x.shape), "; class indices must be integers");
  } else {
    FC_CHECK_TYPE(
        target.dtype == DType::int64 || target.dtype == DType::int32 || target.dtype == DType::uint8, op,
        ": target is ", name_of(target.dtype), ", expected class indices (int64, int32 or uint8)");
    FC_CHECK(target.shape == positions, op, ": target has shape ", to_string(target.shape), ", expected ",
             to_string(positions), " (class indices for input ", to_string(x.shape), ", whose axis ", axis,
             " holds the classes)");
  }
  FC_CHECK(p.classes > 0 || p.positions == 0, op, ": input ", to_string(x.shape), " has no classes");
  FC_CHECK(o.smoothing >= 0 && o.smoothing <= 1, op, ": label_smoothing is ", o.smoothing,
           ", expected a number from 0 to 1");
  p.logits = rows_of(x, axis);
  p.target = rows_of(target, p.probabilities ? axis : -1);
  p.x = x.raw();
  p.t = target.raw();
  if (o.weight) {
    check_same_device(op, {&x, &*o.weight});
    check_same_dtype(op, {&x, &*o.weight});
    FC_CHECK(o.weight->ndim() == 1 && o.weight->shape[0] == p.classes, op, ": weight has shape ",
             to_string(o.weight->shape), ", expected (", p.classes, ",), one entry per class");
    p.weight = o.weight->raw();
    p.weight_stride = o.weight->strides[0];
  }
  p.ignore_index = o.ignore_index;
  p.smoothing = o.smoothing;
  p.reduction = o.reduction;
  return p;
}

}  // namespace

CrossEntropyOutput cross_entropy_forward(const Tensor& x, const Tensor& target,
                                         const CrossEntropyOptions& options) {
  const OpScope scope("cross_entropy.forward");
  CrossEntropyParams p = params_of(x, target, options);
  const DType accumulator = x.dtype == DType::float64 ? DType::float64 : DType::float32;
  CrossEntropyOutput out;
  out.loss = empty(p.reduction == Reduction::none ? positions_of(x) : Dims{}, x.dtype, x.device());
  out.saved = empty({p.positions + 1}, accumulator, x.device());
  const Workspace workspace(x.device(), size_t(p.tasks()) * 2 * sizeof(double));
  p.loss = out.loss.raw();
  p.saved = out.saved.raw();
  p.partial = static_cast<double*>(workspace.data());
  launch(context_of(x), "cross_entropy", p, cpu::cross_entropy_forward, FC_CUDA(cross_entropy_forward));
  return out;
}

std::pair<MaybeTensor, MaybeTensor> cross_entropy_backward(const Tensor& x, const Tensor& target,
                                                           const Tensor& saved, const Tensor& dloss,
                                                           const CrossEntropyOptions& options, bool want_dx,
                                                           bool want_dtarget) {
  const OpScope scope("cross_entropy.backward");
  CrossEntropyParams p = params_of(x, target, options);
  const Tensor g = contiguous(dloss, false);
  std::pair<MaybeTensor, MaybeTensor> out;
  if (want_dx) out.first = empty_like(x);
  if (want_dtarget) out.second = empty_like(x);
  if (!want_dx && !want_dtarget) return out;
  const Tensor& like = want_dx ? *out.first : *out.second;
  p.dx = rows_of(like, class_axis(x));
  p.saved = saved.raw();
  p.dloss = g.raw();
  p.out_dx = want_dx ? out.first->raw() : nullptr;
  p.out_dt = want_dtarget ? out.second->raw() : nullptr;
  if (x.numel() > 0)
    launch(context_of(x), "cross_entropy", p, cpu::cross_entropy_backward, FC_CUDA(cross_entropy_backward));
  return out;
}

}  // namespace fastcnn::ops
