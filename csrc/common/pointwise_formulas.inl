// Formulas of the pointwise ops, shared by the CPU's kernels (once per instruction set) and CUDA's. Include it inside a
// namespace of your own, behind the functions m_exp, m_log ... of that device for float and double. A is the type of the
// arithmetic, P that of the parameters (p0, p1).
// NaN: relu(NaN) = NaN with gradient 1, max/min propagate NaN, comparisons follow IEEE (as in PyTorch).

#if defined(__CUDACC__)
#define FC_FORMULA __device__ inline
#else
#define FC_FORMULA inline
#endif

template <class A>
FC_FORMULA A m_sigmoid(A x) {  // e^-|x| cannot overflow, so the small side keeps its digits
  const A e = m_exp(-m_abs(x));
  return (x < 0 ? e : A(1)) / (A(1) + e);
}
template <class A>
FC_FORMULA A m_softplus(A x) {  // log(1 + e^x) without overflow
  return (x > 0 ? x : A(0)) + m_log1p(m_exp(-m_abs(x)));
}
// tanh(log(1 + e^x)) = n / (n + 2) with n = e^x (e^x + 2); from 30 on it is 1 in every type.
template <class A>
FC_FORMULA A mish_factor(A x) {
  const A e = m_exp(x > 30 ? A(30) : x), n = e * (e + A(2));
  return n / (n + A(2));
}

constexpr double kSeluScale = 1.0507009873554804934193349852946,
                 kSeluAlpha = 1.6732632423543772848170429916717;
constexpr double kInvSqrt2 = 0.70710678118654752440, kInvSqrt2Pi = 0.39894228040143267794;
constexpr double kSqrt2OverPi = 0.79788456080286535588;

// ---- one operand: f(x, p0, p1) ----------------------------------------------------------------------------

#define FC_UNARY(Name, expression)                                                            \
  struct Name {                                                                               \
    template <class A, class P>                                                               \
    static FC_FORMULA A f([[maybe_unused]] A x, [[maybe_unused]] P p, [[maybe_unused]] P q) { \
      return A(expression);                                                                   \
    }                                                                                         \
  };
FC_UNARY(Neg, -x)
FC_UNARY(Abs, x < 0 ? -x : (x == 0 ? A(0) : x))
FC_UNARY(Sign, A(x > 0) - A(x < 0))
FC_UNARY(Square, x* x)
FC_UNARY(Clamp, P(x) > q || p > q ? A(q) : (P(x) < p ? A(p) : x))
FC_UNARY(AddScalar, P(x) + p)
FC_UNARY(MulScalar, P(x) * p)
FC_UNARY(Relu, x < 0 ? A(0) : x)
FC_UNARY(Exp, m_exp(x))
FC_UNARY(Expm1, m_expm1(x))
FC_UNARY(Log, m_log(x))
FC_UNARY(Log1p, m_log1p(x))
FC_UNARY(Sqrt, m_sqrt(x))
FC_UNARY(Rsqrt, A(1) / m_sqrt(x))
FC_UNARY(Reciprocal, A(1) / x)
FC_UNARY(Sin, m_sin(x))
FC_UNARY(Cos, m_cos(x))
FC_UNARY(Erf, m_erf(x))
FC_UNARY(Floor, m_floor(x))
FC_UNARY(Ceil, m_ceil(x))
FC_UNARY(Round, m_rint(x))
FC_UNARY(PowScalar, m_pow(x, p))
FC_UNARY(DivScalar, x / p)
FC_UNARY(Relu6, x < 0 ? A(0) : (x > 6 ? A(6) : x))
FC_UNARY(LeakyRelu, x > 0 ? x : x * p)
FC_UNARY(Elu, x > 0 ? x : p * m_expm1(x))
FC_UNARY(Selu, A(kSeluScale) * (x > 0 ? x : A(kSeluAlpha) * m_expm1(x)))
FC_UNARY(Celu, x > 0 ? x : p * m_expm1(x / p))
FC_UNARY(Gelu, A(0.5) * x * (A(1) + m_erf(x * A(kInvSqrt2))))
FC_UNARY(GeluTanh, A(0.5) * x * (A(1) + m_tanh(A(kSqrt2OverPi) * (x + A(0.044715) * x * x * x))))
FC_UNARY(Sigmoid, m_sigmoid(x))
FC_UNARY(Tanh, m_tanh(x))
FC_UNARY(Silu, x* m_sigmoid(x))
FC_UNARY(Mish, x* mish_factor(x))
FC_UNARY(Softplus, x* p > q ? x : m_softplus(x * p) * (A(1) / p))
FC_UNARY(Softsign, x / (A(1) + (x < 0 ? -x : x)))
FC_UNARY(Hardtanh, x < p ? p : (x > q ? q : x))
FC_UNARY(Hardswish, x <= A(-3) ? A(0) : (x >= A(3) ? x : x * (x + A(3)) / A(6)))
FC_UNARY(Hardsigmoid, x <= A(-3) ? A(0) : (x >= A(3) ? A(1) : x / A(6) + A(0.5)))
FC_UNARY(Hardshrink, (x >= -p && x <= p) ? A(0) : x)
FC_UNARY(Softshrink, x > p ? x - p : (x < -p ? x + p : (x == x ? A(0) : x)))
FC_UNARY(Tanhshrink, x - m_tanh(x))
FC_UNARY(LogSigmoid, (x < 0 ? x : (x == x ? A(0) : x)) - m_log1p(m_exp(-m_abs(x))))
FC_UNARY(Threshold, x <= p ? q : x)
#undef FC_UNARY

// ---- two operands: f(a, b, p0, p1) ------------------------------------------------------------------------

#define FC_BINARY(Name, expression)                                               \
  struct Name {                                                                   \
    template <class A, class P>                                                   \
    static FC_FORMULA A f(A a, A b, [[maybe_unused]] P p, [[maybe_unused]] P q) { \
      return A(expression);                                                       \
    }                                                                             \
  };
FC_BINARY(Add, a + b)
FC_BINARY(Sub, a - b)
FC_BINARY(Mul, a* b)
FC_BINARY(Div, a / b)
FC_BINARY(Pow, m_pow(a, b))
FC_BINARY(Maximum, a != a ? a : (b != b ? b : (a > b ? a : b)))
FC_BINARY(Minimum, a != a ? a : (b != b ? b : (a < b ? a : b)))
FC_BINARY(Axpy, a + p * b)
FC_BINARY(Prelu, a > 0 ? a : b * a)
// Gradients. a = dy; b = x, or the output y for sigmoid and tanh.
FC_BINARY(ReluBackward, b <= 0 ? A(0) : a)
FC_BINARY(Relu6Backward, (b > 0 && b < 6) ? a : A(0))
FC_BINARY(LeakyReluBackward, b > 0 ? a : a * p)
FC_BINARY(EluBackward, b > 0 ? a : a * p * m_exp(b))
FC_BINARY(SeluBackward, a* A(kSeluScale) * (b > 0 ? A(1) : A(kSeluAlpha) * m_exp(b)))
FC_BINARY(CeluBackward, b > 0 ? a : a * m_exp(b / p))
FC_BINARY(GeluBackward,
          a*(A(0.5) * (A(1) + m_erf(b * A(kInvSqrt2))) + b * A(kInvSqrt2Pi) * m_exp(A(-0.5) * b * b)))
template <class A>
FC_FORMULA A gelu_tanh_slope(A x) {
  const A t = m_tanh(A(kSqrt2OverPi) * (x + A(0.044715) * x * x * x));
  const A bend = A(1) - t * t;  // 0 in the flat parts, where the powers of x may overflow
  return A(0.5) * (A(1) + t) +
         (bend > 0 ? A(0.5) * x * bend * A(kSqrt2OverPi) * (A(1) + A(0.134145) * x * x) : A(0));
}
FC_BINARY(GeluTanhBackward, a* gelu_tanh_slope(b))
FC_BINARY(SigmoidBackward, a* b*(A(1) - b))
FC_BINARY(TanhBackward, a*(A(1) - b * b))
template <class A>
FC_FORMULA A silu_slope(A x) {
  const A s = m_sigmoid(x);
  return s * (A(1) + x * (A(1) - s));
}
FC_BINARY(SiluBackward, a* silu_slope(b))
template <class A>
FC_FORMULA A mish_slope(A x) {
  const A e = m_exp(x > 30 ? A(30) : x), n = e * (e + A(2)), d = n + A(2);
  const A bend = A(4) * (e / d) * ((e + A(1)) / d);
  return n / d + x * (x > 30 ? A(0) : bend);
}
FC_BINARY(MishBackward, a* mish_slope(b))
FC_BINARY(SoftplusBackward, b* p > q ? a : a * m_sigmoid(b * p))
template <class A>
FC_FORMULA A softsign_slope(A x) {
  const A d = A(1) + (x < 0 ? -x : x);
  return A(1) / (d * d);
}
FC_BINARY(SoftsignBackward, a* softsign_slope(b))
FC_BINARY(HardtanhBackward, (b > p && b < q) ? a : A(0))
FC_BINARY(HardswishBackward, b <= A(-3) ? A(0) : (b >= A(3) ? a : a * (b / A(3) + A(0.5))))
FC_BINARY(HardsigmoidBackward, (b > A(-3) && b < A(3)) ? a / A(6) : A(0))
FC_BINARY(HardshrinkBackward, (b > p || b < -p) ? a : A(0))
FC_BINARY(TanhshrinkBackward, a* m_tanh(b) * m_tanh(b))
FC_BINARY(LogSigmoidBackward, a* m_sigmoid(-b))
FC_BINARY(ThresholdBackward, b <= p ? A(0) : a)
#undef FC_BINARY

// ---- comparisons and predicates: the result is one byte ---------------------------------------------------

#define FC_COMPARE(Name, expression)     \
  struct Name {                          \
    template <class A>                   \
    static FC_FORMULA bool f(A a, A b) { \
      return expression;                 \
    }                                    \
  };
FC_COMPARE(Eq, a == b)
FC_COMPARE(Ne, a != b)
FC_COMPARE(Lt, a < b)
FC_COMPARE(Le, a <= b)
FC_COMPARE(Gt, a > b)
FC_COMPARE(Ge, a >= b)
FC_COMPARE(LogicalAnd, a != 0 && b != 0)
FC_COMPARE(LogicalOr, a != 0 || b != 0)
FC_COMPARE(LogicalXor, (a != 0) != (b != 0))
// Predicates ignore b; x - x is 0 only for finite x.
FC_COMPARE(IsFinite, (a - a == 0) && (b == b || true))
FC_COMPARE(IsNan, (a != a) && (b == b || true))
FC_COMPARE(IsInf, (a == a && a - a != 0) && (b == b || true))
FC_COMPARE(LogicalNot, (a == 0) && (b == b || true))
#undef FC_COMPARE
