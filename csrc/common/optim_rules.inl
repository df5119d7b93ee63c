// Update rules of the optimizers, element by element, shared by the CPU's kernels (once per instruction set) and CUDA's.
// Include it inside a namespace of your own. A is the type of the arithmetic and of the state.
// x: parameter, g: gradient (sign and L2 decay applied), a b c: the states in the order of OptimRule,
// n: the rule's numbers, named in ops/optim.cpp. Sources: the papers named in fastcnn/optim.

#if defined(__CUDACC__)
#define FC_RULE_FN __host__ __device__ inline
FC_RULE_FN float o_sqrt(float x) { return ::sqrtf(x); }
FC_RULE_FN double o_sqrt(double x) { return ::sqrt(x); }
#else
#define FC_RULE_FN inline
FC_RULE_FN float o_sqrt(float x) { return __builtin_sqrtf(x); }
FC_RULE_FN double o_sqrt(double x) { return __builtin_sqrt(x); }
#endif
template <class A>
FC_RULE_FN A o_abs(A x) {
  return x < 0 ? -x : x;
}

#define FC_RULE(Name, states, ...)                                                                           \
  struct Name {                                                                                              \
    static constexpr int kStates = states;                                                                   \
    template <class A>                                                                                       \
    static FC_RULE_FN void f(A& x, A g, [[maybe_unused]] A& a, [[maybe_unused]] A& b, [[maybe_unused]] A& c, \
                             const A* n) {                                                                   \
      __VA_ARGS__                                                                                            \
    }                                                                                                        \
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
