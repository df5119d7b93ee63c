// Losses that are a function of one prediction and one target: one kernel forward (with its reduction), one backward.
// The formulas are in common/pointwise_loss.h.
#include "common/pointwise_loss.h"

#include <algorithm>

#include "cpu/loss.h"
#include "cpu/thread_pool.h"

namespace fastcnn::cpu {

namespace {

using P = PointwiseLossParams;

// Calls f(offset of each operand) for the elements of a task, in the nest's order.
template <class F>
void for_each_element(const P& p, int64_t task, F&& f) {
  int64_t at[P::kOperands] = {}, index[kMaxDims] = {};
  const int64_t begin = task * P::kTaskElems, end = std::min(begin + P::kTaskElems, p.numel);
  for (int64_t rest = begin, axis = p.ndim - 1; axis >= 0; --axis) {
    index[axis] = rest % p.shape[axis];
    rest /= p.shape[axis];
    for (int k = 0; k < P::kOperands; ++k) at[k] += index[axis] * p.strides[k][axis];
  }
  for (int64_t i = begin; i < end; ++i) {
    f(at);
    for (int axis = p.ndim - 1; axis >= 0; --axis) {
      const bool wrap = ++index[axis] == p.shape[axis];
      const int64_t steps = wrap ? 1 - p.shape[axis] : 1;
      for (int k = 0; k < P::kOperands; ++k) at[k] += steps * p.strides[k][axis];
      if (!wrap) break;
      index[axis] = 0;
    }
  }
}

template <class T, LossKind kind>
struct Loss {
  using A = Accumulator<T>;
  const P& p;
  T* data[P::kOperands];
  explicit Loss(const P& params) : p(params) {
    for (int k = 0; k < P::kOperands; ++k) data[k] = static_cast<T*>(p.data[k]);
  }
  double get(int operand, const int64_t* at, double missing) const {
    return data[operand] ? double(A(data[operand][at[operand]])) : missing;
  }

  void forward() const {
    const int64_t tasks = p.tasks();
    parallel_for(tasks, [&](int64_t task, int) {
      double sum = 0;
      for_each_element(p, task, [&](const int64_t* at) {
        const double w = get(P::kWeight, at, 1), q = get(P::kPosWeight, at, 1);
        const double one =
            w * pointwise_loss::Formula<kind>::loss(get(P::kX, at, 0), get(P::kTarget, at, 0), q, p.p0, p.p1);
        sum += one;
        if (p.reduction == Reduction::none) data[P::kLoss][at[P::kLoss]] = T(A(one));
      });
      if (p.reduction != Reduction::none) p.partial[task] = sum;
    });
    if (p.reduction == Reduction::none) return;
    double sum = 0;
    for (int64_t task = 0; task < tasks; ++task) sum += p.partial[task];
    *data[P::kLoss] = T(A(p.reduction == Reduction::mean ? sum / p.divisor : sum));
  }

  void backward() const {
    const double share = p.reduction == Reduction::mean ? 1 / p.divisor : 1;
    parallel_for(p.tasks(), [&](int64_t task, int) {
      for_each_element(p, task, [&](const int64_t* at) {
        const double w = get(P::kWeight, at, 1), q = get(P::kPosWeight, at, 1);
        const double g = get(P::kDLoss, at, 0) * share * w;
        const pointwise_loss::Slopes s =
            pointwise_loss::Formula<kind>::slopes(get(P::kX, at, 0), get(P::kTarget, at, 0), q, p.p0, p.p1);
        if (data[P::kDx]) data[P::kDx][at[P::kDx]] = T(A(g * s.dx));
        if (data[P::kDTarget]) data[P::kDTarget][at[P::kDTarget]] = T(A(g * s.dt));
      });
    });
  }
};

template <class T, class F>
void dispatch_kind(const P& p, F&& f) {
  switch (p.kind) {
    case LossKind::mse: return f(Loss<T, LossKind::mse>(p));
    case LossKind::l1: return f(Loss<T, LossKind::l1>(p));
    case LossKind::smooth_l1: return f(Loss<T, LossKind::smooth_l1>(p));
    case LossKind::huber: return f(Loss<T, LossKind::huber>(p));
    case LossKind::bce: return f(Loss<T, LossKind::bce>(p));
    case LossKind::bce_logits: return f(Loss<T, LossKind::bce_logits>(p));
    case LossKind::kl_div: return f(Loss<T, LossKind::kl_div>(p));
    case LossKind::kl_div_log: return f(Loss<T, LossKind::kl_div_log>(p));
    default: return f(Loss<T, LossKind::focal>(p));
  }
}

}  // namespace

void pointwise_loss_forward(const P& p) {
  dispatch_float(p.dtype, "loss", [&](auto type) {
    dispatch_kind<typename decltype(type)::type>(p, [](const auto& loss) { loss.forward(); });
  });
}
void pointwise_loss_backward(const P& p) {
  dispatch_float(p.dtype, "loss", [&](auto type) {
    dispatch_kind<typename decltype(type)::type>(p, [](const auto& loss) { loss.backward(); });
  });
}

}  // namespace fastcnn::cpu
