// Losses that are a function of one prediction and one target: one kernel forward (with its reduction), one backward.
// Arithmetic is float64 throughout, so that every dtype gets one rounding.
#include <algorithm>
#include <cmath>

#include "cpu/loss.h"
#include "cpu/thread_pool.h"

namespace fastcnn::cpu {

namespace {

using P = PointwiseLossParams;

double softplus(double x) { return std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x))); }
double sigmoid(double x) {
  const double e = std::exp(-std::abs(x));
  return x >= 0 ? 1 / (1 + e) : e / (1 + e);
}
// The logarithm of binary_cross_entropy, cut off at -100 so that p = 0 costs 100 and not infinity (as in PyTorch).
double bounded_log(double x) { return std::max(std::log(x), -100.0); }

struct Slopes {
  double dx = 0, dt = 0;
};

// Per kind: loss(x, t) and its derivatives. q is pos_weight, p0 and p1 the kind's parameters.
template <LossKind kind>
struct Formula;

template <>
struct Formula<LossKind::mse> {
  static double loss(double x, double t, double, double, double) { return (x - t) * (x - t); }
  static Slopes slopes(double x, double t, double, double, double) { return {2 * (x - t), -2 * (x - t)}; }
};
template <>
struct Formula<LossKind::l1> {
  static double loss(double x, double t, double, double, double) { return std::abs(x - t); }
  static Slopes slopes(double x, double t, double, double, double) {
    const double s = x > t ? 1.0 : (x < t ? -1.0 : x - t);  // x - t: 0, or NaN
    return {s, -s};
  }
};
template <>
struct Formula<LossKind::smooth_l1> {
  static double loss(double x, double t, double, double beta, double) {
    const double d = std::abs(x - t);
    return d < beta ? 0.5 * d * d / beta : d - 0.5 * beta;
  }
  static Slopes slopes(double x, double t, double, double beta, double) {
    const double d = x - t;
    const double s = std::abs(d) < beta ? d / beta : (d > 0 ? 1.0 : (d < 0 ? -1.0 : d));
    return {s, -s};
  }
};
template <>
struct Formula<LossKind::huber> {
  static double loss(double x, double t, double, double delta, double) {
    const double d = std::abs(x - t);
    return d <= delta ? 0.5 * d * d : delta * (d - 0.5 * delta);
  }
  static Slopes slopes(double x, double t, double, double delta, double) {
    const double s = x - t > delta ? delta : (x - t < -delta ? -delta : x - t);
    return {s, -s};
  }
};
template <>
struct Formula<LossKind::bce> {
  static double loss(double x, double t, double, double, double) {
    return -(t * bounded_log(x) + (1 - t) * std::max(std::log1p(-x), -100.0));
  }
  static Slopes slopes(double x, double t, double, double, double) {
    const double room = std::max(x * (1 - x), 1e-12);
    return {(x - t) / room, std::max(std::log1p(-x), -100.0) - bounded_log(x)};
  }
};
template <>
struct Formula<LossKind::bce_logits> {
  static double loss(double x, double t, double q, double, double) {
    return (1 - t) * x + (1 + (q - 1) * t) * softplus(-x);
  }
  static Slopes slopes(double x, double t, double q, double, double) {
    return {(1 - t) - (1 + (q - 1) * t) * sigmoid(-x), -x + (q - 1) * softplus(-x)};
  }
};
template <>
struct Formula<LossKind::kl_div> {
  static double loss(double x, double t, double, double, double) {
    return t > 0 ? t * (std::log(t) - x) : (t == 0 ? 0.0 : t * NAN);
  }
  static Slopes slopes(double x, double t, double, double, double) {
    return {-t, t > 0 ? std::log(t) + 1 - x : 0.0};
  }
};
template <>
struct Formula<LossKind::kl_div_log> {
  static double loss(double x, double t, double, double, double) { return std::exp(t) * (t - x); }
  static Slopes slopes(double x, double t, double, double, double) {
    return {-std::exp(t), std::exp(t) * (t - x + 1)};
  }
};
// a (1 - p_t)^gamma * cross entropy with p_t the probability of the true side (Lin et al. 2017); targets in [0, 1].
template <>
struct Formula<LossKind::focal> {
  static double balance(double t, double alpha) {
    return alpha >= 0 ? alpha * t + (1 - alpha) * (1 - t) : 1.0;
  }
  static double loss(double x, double t, double, double alpha, double gamma) {
    const double p = sigmoid(x), miss = p * (1 - t) + (1 - p) * t;
    return balance(t, alpha) * std::pow(miss, gamma) * ((1 - t) * x + softplus(-x));
  }
  static Slopes slopes(double x, double t, double, double alpha, double gamma) {
    const double p = sigmoid(x), miss = p * (1 - t) + (1 - p) * t, cost = (1 - t) * x + softplus(-x);
    const double power = std::pow(miss, gamma), slope = gamma == 0 ? 0.0 : gamma * std::pow(miss, gamma - 1);
    const double a = balance(t, alpha);
    const double dx = a * (slope * (1 - 2 * t) * p * (1 - p) * cost + power * (p - t));
    const double da = alpha >= 0 ? 2 * alpha - 1 : 0.0;
    return {dx, da * power * cost + a * (slope * (1 - 2 * p) * cost - power * x)};
  }
};

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
        const double one = w * Formula<kind>::loss(get(P::kX, at, 0), get(P::kTarget, at, 0), q, p.p0, p.p1);
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
        const Slopes s = Formula<kind>::slopes(get(P::kX, at, 0), get(P::kTarget, at, 0), q, p.p0, p.p1);
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
