#include "cuda/pointwise_loss.h"

#include <algorithm>

#include "cpu/loss.h"
#include "memory/workspace.h"
#include "ops/loss.h"

namespace fastcnn::ops {

namespace {

using P = PointwiseLossParams;
constexpr const char* kNames[] = {"mse",        "l1",     "smooth_l1",  "huber", "bce",
                                  "bce_logits", "kl_div", "kl_div_log", "focal"};
static_assert(std::size(kNames) == size_t(LossKind::count));

// Axes in x's memory order, so that all operands are walked as x lies; each operand has x's shape by now.
void add_operand(P& p, P::Operand operand, const Tensor& t, const int* order) {
  p.data[operand] = t.raw();
  for (int i = 0; i < p.ndim; ++i) p.strides[operand][i] = t.strides[order[i]];
}

struct Nest {
  P params{};
  int order[kMaxDims] = {};
};

Nest nest_of(const char* op, const Tensor& x, const Tensor& target, const PointwiseLossOptions& o) {
  check_same_device(op, {&x, &target});
  check_same_dtype(op, {&x, &target});
  check_float(op, x);
  FC_CHECK(x.shape == target.shape, op, ": input has shape ", to_string(x.shape), " and target ",
           to_string(target.shape), ", expected equal shapes; reshape one (nothing is broadcast in a loss)");
  Nest nest;
  P& p = nest.params;
  p.kind = o.kind;
  p.reduction = o.reduction;
  p.dtype = x.dtype;
  p.p0 = o.p0;
  p.p1 = o.p1;
  p.ndim = x.ndim();
  p.numel = x.numel();
  p.divisor = double(o.batch_mean ? (x.ndim() ? x.shape[0] : 1) : p.numel);
  for (int i = 0; i < p.ndim; ++i) nest.order[i] = i;
  std::stable_sort(nest.order, nest.order + p.ndim,
                   [&](int a, int b) { return std::abs(x.strides[a]) > std::abs(x.strides[b]); });
  for (int i = 0; i < p.ndim; ++i) p.shape[i] = x.shape[nest.order[i]];
  add_operand(p, P::kX, x, nest.order);
  add_operand(p, P::kTarget, target, nest.order);
  for (auto [operand, t] : {std::pair{P::kWeight, &o.weight}, std::pair{P::kPosWeight, &o.pos_weight}}) {
    if (!*t) continue;
    check_same_device(op, {&x, &**t});
    check_same_dtype(op, {&x, &**t});
    FC_CHECK(broadcast_shapes((*t)->shape, x.shape, op) == x.shape, op, ": weight has shape ",
             to_string((*t)->shape), ", expected one that broadcasts to ", to_string(x.shape));
    add_operand(p, operand, (*t)->expand(x.shape), nest.order);
  }
  return nest;
}

}  // namespace

LossKind parse_loss(const std::string& name) {
  for (size_t i = 0; i < std::size(kNames); ++i)
    if (name == kNames[i]) return LossKind(i);
  fail<ValueError>("loss: unknown kind '", name, "'");
}

Tensor pointwise_loss_forward(const char* op, const Tensor& x, const Tensor& target,
                              const PointwiseLossOptions& options) {
  const OpScope scope(op);
  Nest nest = nest_of(op, x, target, options);
  P& p = nest.params;
  const bool none = p.reduction == Reduction::none;
  Tensor loss = none ? empty_like(x) : empty({}, x.dtype, x.device());
  const Workspace workspace(x.device(), none ? 0 : size_t(p.tasks()) * sizeof(double));
  p.partial = static_cast<double*>(workspace.data());
  if (none) {
    add_operand(p, P::kLoss, loss, nest.order);
  } else {
    p.data[P::kLoss] = loss.raw();
  }
  launch(context_of(x), op, p, cpu::pointwise_loss_forward, FC_CUDA(pointwise_loss_forward));
  return loss;
}

std::pair<MaybeTensor, MaybeTensor> pointwise_loss_backward(const char* op, const Tensor& x,
                                                            const Tensor& target, const Tensor& dloss,
                                                            const PointwiseLossOptions& options, bool want_dx,
                                                            bool want_dtarget) {
  const OpScope scope(op);
  Nest nest = nest_of(op, x, target, options);
  std::pair<MaybeTensor, MaybeTensor> out;
  if (want_dx) out.first = empty_like(x);
  if (want_dtarget) out.second = empty_like(target);
  if (want_dx) add_operand(nest.params, P::kDx, *out.first, nest.order);
  if (want_dtarget) add_operand(nest.params, P::kDTarget, *out.second, nest.order);
  add_operand(nest.params, P::kDLoss, dloss.expand(x.shape), nest.order);
  if (x.numel())
    launch(context_of(x), op, nest.params, cpu::pointwise_loss_backward, FC_CUDA(pointwise_loss_backward));
  return out;
}

}  // namespace fastcnn::ops
