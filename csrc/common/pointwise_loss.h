// The formulas of the losses of one prediction and one target, for kernels of both devices. Arithmetic is float64
// throughout, so that every dtype gets one rounding.
#pragma once

#include <math.h>

#include "common/host_device.h"
#include "common/loss.h"

namespace fastcnn::pointwise_loss {

FC_BOTH double at_least(double x, double low) { return x < low ? low : x; }  // NaN stays
FC_BOTH double softplus(double x) { return at_least(x, 0.0) + ::log1p(::exp(-::fabs(x))); }
FC_BOTH double sigmoid(double x) {
  const double e = ::exp(-::fabs(x));
  return x >= 0 ? 1 / (1 + e) : e / (1 + e);
}
// The logarithm of binary_cross_entropy, cut off at -100 so that p = 0 costs 100 and not infinity (as in PyTorch).
FC_BOTH double bounded_log(double x) { return at_least(::log(x), -100.0); }
FC_BOTH double bounded_log1p(double x) { return at_least(::log1p(x), -100.0); }

struct Slopes {
  double dx = 0, dt = 0;
};

// Per kind: loss(x, t) and its derivatives. q is pos_weight, p0 and p1 the kind's parameters.
template <LossKind kind>
struct Formula;

template <>
struct Formula<LossKind::mse> {
  static FC_BOTH double loss(double x, double t, double, double, double) { return (x - t) * (x - t); }
  static FC_BOTH Slopes slopes(double x, double t, double, double, double) {
    return {2 * (x - t), -2 * (x - t)};
  }
};
template <>
struct Formula<LossKind::l1> {
  static FC_BOTH double loss(double x, double t, double, double, double) { return ::fabs(x - t); }
  static FC_BOTH Slopes slopes(double x, double t, double, double, double) {
    const double s = x > t ? 1.0 : (x < t ? -1.0 : x - t);  // x - t: 0, or NaN
    return {s, -s};
  }
};
template <>
struct Formula<LossKind::smooth_l1> {
  static FC_BOTH double loss(double x, double t, double, double beta, double) {
    const double d = ::fabs(x - t);
    return d < beta ? 0.5 * d * d / beta : d - 0.5 * beta;
  }
  static FC_BOTH Slopes slopes(double x, double t, double, double beta, double) {
    const double d = x - t;
    const double s = ::fabs(d) < beta ? d / beta : (d > 0 ? 1.0 : (d < 0 ? -1.0 : d));
    return {s, -s};
  }
};
template <>
struct Formula<LossKind::huber> {
  static FC_BOTH double loss(double x, double t, double, double delta, double) {
    const double d = ::fabs(x - t);
    return d <= delta ? 0.5 * d * d : delta * (d - 0.5 * delta);
  }
  static FC_BOTH Slopes slopes(double x, double t, double, double delta, double) {
    const double s = x - t > delta ? delta : (x - t < -delta ? -delta : x - t);
    return {s, -s};
  }
};
template <>
struct Formula<LossKind::bce> {
  static FC_BOTH double loss(double x, double t, double, double, double) {
    return -(t * bounded_log(x) + (1 - t) * bounded_log1p(-x));
  }
  static FC_BOTH Slopes slopes(double x, double t, double, double, double) {
    const double room = at_least(x * (1 - x), 1e-12);
    return {(x - t) / room, bounded_log1p(-x) - bounded_log(x)};
  }
};
template <>
struct Formula<LossKind::bce_logits> {
  static FC_BOTH double loss(double x, double t, double q, double, double) {
    return (1 - t) * x + (1 + (q - 1) * t) * softplus(-x);
  }
  static FC_BOTH Slopes slopes(double x, double t, double q, double, double) {
    return {(1 - t) - (1 + (q - 1) * t) * sigmoid(-x), -x + (q - 1) * softplus(-x)};
  }
};
template <>
struct Formula<LossKind::kl_div> {
  static FC_BOTH double loss(double x, double t, double, double, double) {
    return t > 0 ? t * (::log(t) - x) : (t == 0 ? 0.0 : t * NAN);
  }
  static FC_BOTH Slopes slopes(double x, double t, double, double, double) {
    return {-t, t > 0 ? ::log(t) + 1 - x : 0.0};
  }
};
template <>
struct Formula<LossKind::kl_div_log> {
  static FC_BOTH double loss(double x, double t, double, double, double) { return ::exp(t) * (t - x); }
  static FC_BOTH Slopes slopes(double x, double t, double, double, double) {
    return {-::exp(t), ::exp(t) * (t - x + 1)};
  }
};
// a (1 - p_t)^gamma * cross entropy with p_t the probability of the true side (Lin et al. 2017); targets in [0, 1].
template <>
struct Formula<LossKind::focal> {
  static FC_BOTH double balance(double t, double alpha) {
    return alpha >= 0 ? alpha * t + (1 - alpha) * (1 - t) : 1.0;
  }
  static FC_BOTH double loss(double x, double t, double, double alpha, double gamma) {
    const double p = sigmoid(x), miss = p * (1 - t) + (1 - p) * t;
    return balance(t, alpha) * ::pow(miss, gamma) * ((1 - t) * x + softplus(-x));
  }
  static FC_BOTH Slopes slopes(double x, double t, double, double alpha, double gamma) {
    const double p = sigmoid(x), miss = p * (1 - t) + (1 - p) * t, cost = (1 - t) * x + softplus(-x);
    const double power = ::pow(miss, gamma), slope = gamma == 0 ? 0.0 : gamma * ::pow(miss, gamma - 1);
    const double a = balance(t, alpha);
    const double dx = a * (slope * (1 - 2 * t) * p * (1 - p) * cost + power * (p - t));
    const double da = alpha >= 0 ? 2 * alpha - 1 : 0.0;
    return {dx, da * power * cost + a * (slope * (1 - 2 * p) * cost - power * x)};
  }
};

}  // namespace fastcnn::pointwise_loss
