#include "ops/optim.h"

#include <cmath>

#include "cpu/optim.h"
#include "cuda/optim.h"
#include "ops/elementwise.h"

namespace fastcnn::ops {

namespace {

OptimRule rule_of(const OptimSettings& s) {
  const auto plus = [](OptimRule base, int n) { return OptimRule(int(base) + n); };
  if (s.kind == "sgd") return plus(OptimRule::sgd, s.momentum != 0);
  if (s.kind == "adam") return plus(OptimRule::adam, s.amsgrad);
  if (s.kind == "rmsprop") return plus(OptimRule::rmsprop, 2 * s.centered + (s.momentum > 0));
  if (s.kind == "adagrad") return OptimRule::adagrad;
  if (s.kind == "adadelta") return OptimRule::adadelta;
  if (s.kind == "adamax") return OptimRule::adamax;
  if (s.kind == "nadam") return OptimRule::nadam;
  if (s.kind == "radam") return OptimRule::radam;
  FC_CHECK(s.kind == "lion", "optim: no optimizer is called '", s.kind, "'");
  return OptimRule::lion;
}

// The numbers of step t (from 1); `product` is NAdam's product of momenta, brought forward to step t.
OptimNumbers numbers_of(const OptimSettings& s, double t, double& product) {
  OptimNumbers out;
  out.sign = s.maximize ? -1 : 1;
  (s.decoupled ? out.shrink : out.decay) = s.decoupled ? 1 - s.lr * s.weight_decay : s.weight_decay;
  const auto set = [&](std::initializer_list<double> values) {
    int i = 0;
    for (double v : values) out.n[i++] = v;
  };
  const double b1 = s.beta1, b2 = s.beta2;
  const double correction1 = 1 - std::pow(b1, t), correction2 = 1 - std::pow(b2, t);
  if (s.kind == "sgd") {
    const bool first = t == 1;  // the buffer starts as the gradient itself, without dampening
    set({s.lr, first ? 0 : s.momentum, first ? 1 : 1 - s.dampening, s.momentum, double(s.nesterov)});
  } else if (s.kind == "adam") {
    set({s.lr / correction1, 1 - b1, b2, 1 - b2, std::sqrt(correction2), s.eps});
  } else if (s.kind == "rmsprop") {
    set({s.lr, s.alpha, 1 - s.alpha, s.eps, s.momentum});
  } else if (s.kind == "adagrad") {
    set({s.lr / (1 + (t - 1) * s.lr_decay), s.eps});
  } else if (s.kind == "adadelta") {
    set({s.lr, s.rho, 1 - s.rho, s.eps});
  } else if (s.kind == "adamax") {
    set({s.lr / correction1, 1 - b1, b2, s.eps});
  } else if (s.kind == "nadam") {
    const auto mu = [&](double step) { return b1 * (1 - 0.5 * std::pow(0.96, step * s.momentum_decay)); };
    const double now = mu(t), next = mu(t + 1);
    product *= now;
    set({s.lr * (1 - now) / (1 - product), 1 - b1, b2, 1 - b2, correction2, s.eps,
         s.lr * next / (1 - product * next)});
  } else if (s.kind == "radam") {
    // Liu 2020, eq. 5: the length of the approximated simple moving average decides when to rectify.
    const double longest = 2 / (1 - b2) - 1, length = longest - 2 * t * std::pow(b2, t) / correction2;
    double rate = 0;
    if (length > 5)
      rate = std::sqrt(correction2) *
             std::sqrt((length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length));
    set({s.lr / correction1, 1 - b1, b2, 1 - b2, rate, s.eps});
  } else {
    set({s.lr, b1, 1 - b1, b2, 1 - b2});
  }
  return out;
}

// A parameter whose memory or gradient is not laid out as its states are: worked on in a copy.
struct Detour {
  Tensor original, copy;
};

bool same_layout(const Tensor& a, const Tensor& b) {
  for (int i = 0; i < a.ndim(); ++i)
    if (a.shape[i] != 1 && a.strides[i] != b.strides[i]) return false;
  return true;
}

Tensor laid_out_as(const Tensor& like, const Tensor& t) {
  Tensor copy = empty_like(like, t.dtype);
  copy_(copy, t);
  return copy;
}

void check_state(const std::string& op, const Tensor& param, const Tensor& state) {
  const DType expected = param.dtype == DType::float64 ? DType::float64 : DType::float32;
  FC_CHECK(state.shape == param.shape, op, ": state has shape ", to_string(state.shape), ", parameter ",
           to_string(param.shape));
  FC_CHECK_TYPE(state.dtype == expected, op, ": state is ", name_of(state.dtype), " for a ",
                name_of(param.dtype), " parameter, expected ", name_of(expected),
                "; make the optimizer after model.to(...)");
  FC_CHECK(state.device() == param.device(), op, ": state is on ", to_string(state.device()),
           ", parameter on ", to_string(param.device()), "; make the optimizer after model.to(...)");
}

}  // namespace

int optim_states(const OptimSettings& settings) { return kOptimStates[int(rule_of(settings))]; }

void optim_step(const OptimSettings& settings, const std::vector<Tensor*>& params,
                const std::vector<std::vector<Tensor*>>& states, double* scalars) {
  const std::string op = "optim." + settings.kind;
  const OpScope scope(op.c_str());
  const OptimRule rule = rule_of(settings);
  const int state_count = kOptimStates[int(rule)];
  FC_CHECK(int(states.size()) == state_count, op, ": got ", states.size(), " states per parameter, expected ",
           state_count);

  // 1. check everything, 2. make the rare copies, 3. one launch per dtype and device.
  std::vector<size_t> active;
  for (size_t i = 0; i < params.size(); ++i) {
    const Tensor& p = *params[i];
    if (!p.grad) continue;
    check_float(op.c_str(), p);
    check_writable(op.c_str(), p);
    check_same_device(op.c_str(), {&p, p.grad.get()});
    check_same_dtype(op.c_str(), {&p, p.grad.get()});
    FC_CHECK(p.grad->shape == p.shape, op, ": gradient has shape ", to_string(p.grad->shape), ", parameter ",
             to_string(p.shape));
    for (const auto& list : states) check_state(op, p, *list.at(i));
    active.push_back(i);
  }
  std::vector<Detour> detours;
  std::vector<Tensor> gradients;  // keeps copies alive until the launch is done
  std::vector<bool> done(active.size());
  for (size_t first = 0; first < active.size(); ++first) {
    if (done[first]) continue;
    const Tensor& lead = *params[active[first]];
    std::vector<OptimItem> items;
    int64_t tasks = 0;
    for (size_t k = first; k < active.size(); ++k) {
      const size_t i = active[k];
      Tensor& p = *params[i];
      if (done[k] || p.dtype != lead.dtype || p.device() != lead.device()) continue;
      done[k] = true;
      double* const scalar = scalars + 2 * i;
      scalar[0] += 1;
      OptimItem item{};
      item.numbers = numbers_of(settings, scalar[0], scalar[1]);
      item.count = p.numel();
      item.first_task = tasks;
      Tensor target = p;
      bool detour = !p.is_dense();
      for (const auto& list : states) detour = detour || !same_layout(p, *list[i]);
      if (detour) {
        target = state_count ? laid_out_as(*states[0][i], p) : laid_out_as(p, p);
        detours.push_back({p, target});
      }
      Tensor gradient = *p.grad;
      if (!same_layout(target, gradient)) gradient = laid_out_as(target, gradient);
      gradients.push_back(gradient);
      item.param = target.raw();
      item.grad = gradient.raw();
      for (int s = 0; s < state_count; ++s) item.state[s] = states[size_t(s)][i]->raw();
      if (item.count == 0) continue;
      items.push_back(item);
      tasks += (item.count + kOptimTaskElems - 1) / kOptimTaskElems;
    }
    if (tasks > 0)
      launch(context_of(lead), op.c_str(),
             OptimParams{rule, lead.dtype, items.data(), int64_t(items.size()), tasks}, cpu::optim,
             FC_CUDA(optim));
  }
  for (const Detour& d : detours) copy_(d.original, d.copy);
  for (size_t i : active) {
    changed(*params[i]);
    for (const auto& list : states) changed(*list[i]);
  }
}

}  // namespace fastcnn::ops
