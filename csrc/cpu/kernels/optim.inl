// The loop over a tensor's elements for each update rule; it vectorises. T is the parameter's type, A that of the
// arithmetic and of the state: a 16-bit parameter is read, updated in float32 and rounded once.
#include "common/optim_rules.inl"

template <class Rule, class T, class A>
void optim_loop(void* param_, const void* grad_, void* const* state, int64_t count,
                const OptimNumbers& numbers) {
  T* __restrict param = (T*)param_;
  const T* __restrict grad = (const T*)grad_;
  A* __restrict s0 = (A*)state[0];
  A* __restrict s1 = (A*)state[1];
  A* __restrict s2 = (A*)state[2];
  const A sign = (A)numbers.sign, decay = (A)numbers.decay, shrink = (A)numbers.shrink;
  A n[kOptimNumbers];
  for (int i = 0; i < kOptimNumbers; ++i) n[i] = (A)numbers.n[i];
  for (int64_t i = 0; i < count; ++i) {
    A x = A(param[i]), g = sign * A(grad[i]), a = 0, b = 0, c = 0;
    if constexpr (Rule::kStates > 0) a = s0[i];
    if constexpr (Rule::kStates > 1) b = s1[i];
    if constexpr (Rule::kStates > 2) c = s2[i];
    g = decay != 0 ? g + decay * x : g;  // no 0 * inf where there is no decay
    x *= shrink;
    Rule::template f<A>(x, g, a, b, c, n);
    param[i] = T(x);
    if constexpr (Rule::kStates > 0) s0[i] = a;
    if constexpr (Rule::kStates > 1) s1[i] = b;
    if constexpr (Rule::kStates > 2) s2[i] = c;
  }
}

template <class T, class A>
OptimFn optim_find(OptimRule rule) {
  switch (rule) {
    case OptimRule::sgd: return optim_loop<Sgd, T, A>;
    case OptimRule::sgd_momentum: return optim_loop<SgdMomentum, T, A>;
    case OptimRule::adam: return optim_loop<Adam, T, A>;
    case OptimRule::adam_amsgrad: return optim_loop<AdamAmsgrad, T, A>;
    case OptimRule::rmsprop: return optim_loop<RmsProp, T, A>;
    case OptimRule::rmsprop_momentum: return optim_loop<RmsPropMomentum, T, A>;
    case OptimRule::rmsprop_centered: return optim_loop<RmsPropCentered, T, A>;
    case OptimRule::rmsprop_centered_momentum: return optim_loop<RmsPropCenteredMomentum, T, A>;
    case OptimRule::adagrad: return optim_loop<Adagrad, T, A>;
    case OptimRule::adadelta: return optim_loop<Adadelta, T, A>;
    case OptimRule::adamax: return optim_loop<Adamax, T, A>;
    case OptimRule::nadam: return optim_loop<NAdam, T, A>;
    case OptimRule::radam: return optim_loop<RAdam, T, A>;
    default: return optim_loop<Lion, T, A>;
  }
}
