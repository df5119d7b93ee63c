// Update rules, written element by element; the loops vectorise. T is the parameter's type, A that of the arithmetic
// and of the state: a 16-bit parameter is read, updated in float32 and rounded once.
// x: parameter, g: gradient (sign and L2 decay applied), a b c: the states in the order of OptimRule,
// n: the rule's numbers, named in ops/optim.cpp. Sources: the papers named in fastcnn/optim.

inline float o_sqrt(float x) { return __builtin_sqrtf(x); }
inline double o_sqrt(double x) { return __builtin_sqrt(x); }
template <class A>
inline A o_abs(A x) {
  return x < 0 ? -x : x;
}

#define FC_RULE(Name, states, ...)                                                                       \
  struct Name {                                                                                          \
    static constexpr int kStates = states;                                                               \
    template <class A>                                                                                   \
    static inline void f(A& x, A g, [[maybe_unused]] A& a, [[maybe_unused]] A& b, [[maybe_unused]] A& c, \
                         const A* n) {                                                                   \
      __VA_ARGS__                                                                                        \
    }                                                                                                    \
  };
FC_RULE(Sgd, 0, x -= n[0] * g;)
// keep and take are (mu, 1 - dampening), and (0, 1) at the first step; n[4] is 1 for Nesterov.
FC_RULE(SgdMomentum, 1, a = n[1] * a + n[2] * g; x -= n[0] * (n[4] != 0 ? g + n[3] * a : a);)
FC_RULE(Adam, 2, a += n[1] * (g - a); b = n[2] * b + n[3] * (g * g);
        x -= n[0] * (a / (o_sqrt(b) / n[4] + n[5]));)
// The comparison is written so that a NaN in b stays.
FC_RULE(AdamAmsgrad, 3, a += n[1] * (g - a); b = n[2] * b + n[3] * (g * g); c = b < c ? c : b;
        x -= n[0] * (a / (o_sqrt(c) / n[4] + n[5]));)
FC_RULE(RmsProp, 1, a = n[1] * a + n[2] * (g * g); x -= n[0] * (g / (o_sqrt(a) + n[3]));)
FC_RULE(RmsPropMomentum, 2, a = n[1] * a + n[2] * (g * g); b = n[4] * b + g / (o_sqrt(a) + n[3]);
        x -= n[0] * b;)
FC_RULE(RmsPropCentered, 2, a = n[1] * a + n[2] * (g * g); b += n[2] * (g - b);
        x -= n[0] * (g / (o_sqrt(a - b * b) + n[3]));)
FC_RULE(RmsPropCenteredMomentum, 3, a = n[1] * a + n[2] * (g * g); c += n[2] * (g - c);
        b = n[4] * b + g / (o_sqrt(a - c * c) + n[3]); x -= n[0] * b;)
FC_RULE(Adagrad, 1, a += g * g; x -= n[0] * (g / (o_sqrt(a) + n[1]));)
FC_RULE(Adadelta, 2, a = n[1] * a + n[2] * (g * g); const A d = o_sqrt(b + n[3]) / o_sqrt(a + n[3]) * g;
        b = n[1] * b + n[2] * (d * d); x -= n[0] * d;)
FC_RULE(Adamax, 2, a += n[1] * (g - a); const A u = o_abs(g) + n[3]; const A d = n[2] * b; b = u < d ? d : u;
        x -= n[0] * (a / b);)
FC_RULE(NAdam, 2, a += n[1] * (g - a); b = n[2] * b + n[3] * (g * g); const A root = o_sqrt(b / n[4]) + n[5];
        x -= n[0] * (g / root); x -= n[6] * (a / root);)
// n[4] is 0 while the variance of the adaptive rate is unknown (the first few steps).
FC_RULE(RAdam, 2, a += n[1] * (g - a); b = n[2] * b + n[3] * (g * g);
        x -= n[0] * a * (n[4] != 0 ? n[4] / (o_sqrt(b) + n[5]) : A(1));)
FC_RULE(Lion, 1, const A u = n[1] * a + n[2] * g; x -= n[0] * (u > 0 ? A(1) : (u < 0 ? A(-1) : u));
        a = n[3] * a + n[4] * g;)
#undef FC_RULE

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
