// Formulas and inner loops of the pointwise ops. T is the stored type, A the type of the arithmetic, P that of
// the parameters. Included once per instruction set (T = float) and by cpu/elementwise.cpp (everything else);
// simple loops, written so that the compiler vectorises the contiguous case.
// NaN: relu(NaN) = NaN with gradient 1, max/min propagate NaN, comparisons follow IEEE (as in PyTorch).

#include "cpu/kernels/math.inl"

#define FC_MATH1(name) \
  inline double m_##name(double x) { return __builtin_##name(x); }
FC_MATH1(exp)
FC_MATH1(expm1)
FC_MATH1(log)
FC_MATH1(log1p)
FC_MATH1(sqrt)
FC_MATH1(sin)
FC_MATH1(cos)
FC_MATH1(erf)
FC_MATH1(tanh)
FC_MATH1(floor)
FC_MATH1(ceil)
FC_MATH1(rint)
#undef FC_MATH1
// Beside math.inl: one instruction each, or too rare in networks for a vector form of ours (sin, cos, pow).
inline float m_sqrt(float x) { return __builtin_sqrtf(x); }
inline float m_sin(float x) { return __builtin_sinf(x); }
inline float m_cos(float x) { return __builtin_cosf(x); }
inline float m_floor(float x) { return __builtin_floorf(x); }
inline float m_ceil(float x) { return __builtin_ceilf(x); }
inline float m_rint(float x) { return __builtin_rintf(x); }
inline float m_pow(float x, float y) { return __builtin_powf(x, y); }
inline double m_pow(double x, double y) { return __builtin_pow(x, y); }
inline double m_abs(double x) { return __builtin_fabs(x); }
template <class A>
inline A m_sigmoid(A x) {  // e^-|x| cannot overflow, so the small side keeps its digits
  const A e = m_exp(-m_abs(x));
  return (x < 0 ? e : A(1)) / (A(1) + e);
}
template <class A>
inline A m_softplus(A x) {  // log(1 + e^x) without overflow
  return (x > 0 ? x : A(0)) + m_log1p(m_exp(-m_abs(x)));
}
// tanh(log(1 + e^x)) = n / (n + 2) with n = e^x (e^x + 2); from 30 on it is 1 in every type.
template <class A>
inline A mish_factor(A x) {
  const A e = m_exp(x > 30 ? A(30) : x), n = e * (e + A(2));
  return n / (n + A(2));
}

constexpr double kSeluScale = 1.0507009873554804934193349852946,
                 kSeluAlpha = 1.6732632423543772848170429916717;
constexpr double kInvSqrt2 = 0.70710678118654752440, kInvSqrt2Pi = 0.39894228040143267794;
constexpr double kSqrt2OverPi = 0.79788456080286535588;

// ---- one operand: f(x, p0, p1) ----------------------------------------------------------------------------

#define FC_UNARY(Name, expression)                                                        \
  struct Name {                                                                           \
    template <class A, class P>                                                           \
    static inline A f([[maybe_unused]] A x, [[maybe_unused]] P p, [[maybe_unused]] P q) { \
      return A(expression);                                                               \
    }                                                                                     \
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

#define FC_BINARY(Name, expression)                                           \
  struct Name {                                                               \
    template <class A, class P>                                               \
    static inline A f(A a, A b, [[maybe_unused]] P p, [[maybe_unused]] P q) { \
      return A(expression);                                                   \
    }                                                                         \
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
inline A gelu_tanh_slope(A x) {
  const A t = m_tanh(A(kSqrt2OverPi) * (x + A(0.044715) * x * x * x));
  const A bend = A(1) - t * t;  // 0 in the flat parts, where the powers of x may overflow
  return A(0.5) * (A(1) + t) +
         (bend > 0 ? A(0.5) * x * bend * A(kSqrt2OverPi) * (A(1) + A(0.134145) * x * x) : A(0));
}
FC_BINARY(GeluTanhBackward, a* gelu_tanh_slope(b))
FC_BINARY(SigmoidBackward, a* b*(A(1) - b))
FC_BINARY(TanhBackward, a*(A(1) - b * b))
template <class A>
inline A silu_slope(A x) {
  const A s = m_sigmoid(x);
  return s * (A(1) + x * (A(1) - s));
}
FC_BINARY(SiluBackward, a* silu_slope(b))
template <class A>
inline A mish_slope(A x) {
  const A e = m_exp(x > 30 ? A(30) : x), n = e * (e + A(2)), d = n + A(2);
  const A bend = A(4) * (e / d) * ((e + A(1)) / d);
  return n / d + x * (x > 30 ? A(0) : bend);
}
FC_BINARY(MishBackward, a* mish_slope(b))
FC_BINARY(SoftplusBackward, b* p > q ? a : a * m_sigmoid(b * p))
template <class A>
inline A softsign_slope(A x) {
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

#define FC_COMPARE(Name, expression) \
  struct Name {                      \
    template <class A>               \
    static inline bool f(A a, A b) { \
      return expression;             \
    }                                \
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

// ---- loops ------------------------------------------------------------------------------------------------

template <class Op, class T, class A, class P>
void unary_loop(void* y_, const void* x_, int64_t n, int64_t sy, int64_t sx, double p0, double p1) {
  T* y = (T*)y_;
  const T* x = (const T*)x_;
  const P p = (P)p0, q = (P)p1;
  if (sy == 1 && sx == 1) {
#pragma GCC ivdep
    for (int64_t i = 0; i < n; ++i) y[i] = T(Op::f(A(x[i]), p, q));
  } else {
#pragma GCC ivdep
    for (int64_t i = 0; i < n; ++i) y[i * sy] = T(Op::f(A(x[i * sx]), p, q));
  }
}

/// Does not read x, which is memory that nothing was written to yet.
template <class T, class A, class P>
void fill_loop(void* y_, const void*, int64_t n, int64_t sy, int64_t, double p0, double) {
  T* y = (T*)y_;
  const T value = T(A(P(p0)));
  for (int64_t i = 0; i < n; ++i) y[i * sy] = value;
}

template <class Op, class T, class A, class P>
void binary_loop(void* y_, const void* a_, const void* b_, int64_t n, int64_t sy, int64_t sa, int64_t sb,
                 double p0, double p1) {
  T* y = (T*)y_;
  const T *a = (const T*)a_, *b = (const T*)b_;
  const P p = (P)p0, q = (P)p1;
  if (sy == 1 && sa == 1 && sb == 1) {
#pragma GCC ivdep
    for (int64_t i = 0; i < n; ++i) y[i] = T(Op::f(A(a[i]), A(b[i]), p, q));
  } else if (sy == 1 && sa == 1 && sb == 0) {
    const A c = A(*b);
#pragma GCC ivdep
    for (int64_t i = 0; i < n; ++i) y[i] = T(Op::f(A(a[i]), c, p, q));
  } else {
#pragma GCC ivdep
    for (int64_t i = 0; i < n; ++i) y[i * sy] = T(Op::f(A(a[i * sa]), A(b[i * sb]), p, q));
  }
}

template <class Op, class T, class A>
void compare_loop(void* y_, const void* a_, const void* b_, int64_t n, int64_t sy, int64_t sa, int64_t sb,
                  double, double) {
  unsigned char* y = (unsigned char*)y_;
  const T *a = (const T*)a_, *b = (const T*)b_;
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) y[i * sy] = (unsigned char)Op::f(A(a[i * sa]), A(b[i * sb]));
}

template <class Op, class T, class A>
void predicate_loop(void* y, const void* x, int64_t n, int64_t sy, int64_t sx, double, double) {
  compare_loop<Op, T, A>(y, x, x, n, sy, sx, sx, 0, 0);
}

// ---- by name ----------------------------------------------------------------------------------------------
// `number` rows exist for every dtype but bool, `real` rows for float dtypes only.

template <class T, class A, class P>
UnaryFn unary_number(Unary op) {
  switch (op) {
    case Unary::neg: return unary_loop<Neg, T, A, P>;
    case Unary::abs: return unary_loop<Abs, T, A, P>;
    case Unary::sign: return unary_loop<Sign, T, A, P>;
    case Unary::square: return unary_loop<Square, T, A, P>;
    case Unary::clamp: return unary_loop<Clamp, T, A, P>;
    case Unary::add_scalar: return unary_loop<AddScalar, T, A, P>;
    case Unary::mul_scalar: return unary_loop<MulScalar, T, A, P>;
    case Unary::relu: return unary_loop<Relu, T, A, P>;
    case Unary::fill: return fill_loop<T, A, P>;
    case Unary::isfinite: return predicate_loop<IsFinite, T, A>;
    case Unary::isnan: return predicate_loop<IsNan, T, A>;
    case Unary::isinf: return predicate_loop<IsInf, T, A>;
    case Unary::logical_not: return predicate_loop<LogicalNot, T, A>;
    default: return nullptr;
  }
}

template <class T, class A>
UnaryFn unary_real(Unary op) {
  switch (op) {
    case Unary::exp: return unary_loop<Exp, T, A, A>;
    case Unary::expm1: return unary_loop<Expm1, T, A, A>;
    case Unary::log: return unary_loop<Log, T, A, A>;
    case Unary::log1p: return unary_loop<Log1p, T, A, A>;
    case Unary::sqrt: return unary_loop<Sqrt, T, A, A>;
    case Unary::rsqrt: return unary_loop<Rsqrt, T, A, A>;
    case Unary::reciprocal: return unary_loop<Reciprocal, T, A, A>;
    case Unary::sin: return unary_loop<Sin, T, A, A>;
    case Unary::cos: return unary_loop<Cos, T, A, A>;
    case Unary::erf: return unary_loop<Erf, T, A, A>;
    case Unary::floor: return unary_loop<Floor, T, A, A>;
    case Unary::ceil: return unary_loop<Ceil, T, A, A>;
    case Unary::round: return unary_loop<Round, T, A, A>;
    case Unary::pow_scalar: return unary_loop<PowScalar, T, A, A>;
    case Unary::div_scalar: return unary_loop<DivScalar, T, A, A>;
    case Unary::relu6: return unary_loop<Relu6, T, A, A>;
    case Unary::leaky_relu: return unary_loop<LeakyRelu, T, A, A>;
    case Unary::elu: return unary_loop<Elu, T, A, A>;
    case Unary::selu: return unary_loop<Selu, T, A, A>;
    case Unary::celu: return unary_loop<Celu, T, A, A>;
    case Unary::gelu: return unary_loop<Gelu, T, A, A>;
    case Unary::gelu_tanh: return unary_loop<GeluTanh, T, A, A>;
    case Unary::sigmoid: return unary_loop<Sigmoid, T, A, A>;
    case Unary::tanh: return unary_loop<Tanh, T, A, A>;
    case Unary::silu: return unary_loop<Silu, T, A, A>;
    case Unary::mish: return unary_loop<Mish, T, A, A>;
    case Unary::softplus: return unary_loop<Softplus, T, A, A>;
    case Unary::softsign: return unary_loop<Softsign, T, A, A>;
    case Unary::hardtanh: return unary_loop<Hardtanh, T, A, A>;
    case Unary::hardswish: return unary_loop<Hardswish, T, A, A>;
    case Unary::hardsigmoid: return unary_loop<Hardsigmoid, T, A, A>;
    case Unary::hardshrink: return unary_loop<Hardshrink, T, A, A>;
    case Unary::softshrink: return unary_loop<Softshrink, T, A, A>;
    case Unary::tanhshrink: return unary_loop<Tanhshrink, T, A, A>;
    case Unary::logsigmoid: return unary_loop<LogSigmoid, T, A, A>;
    case Unary::threshold: return unary_loop<Threshold, T, A, A>;
    default: return unary_number<T, A, A>(op);
  }
}

template <class T, class A, class P>
BinaryFn binary_number(Binary op) {
  switch (op) {
    case Binary::add: return binary_loop<Add, T, A, P>;
    case Binary::sub: return binary_loop<Sub, T, A, P>;
    case Binary::mul: return binary_loop<Mul, T, A, P>;
    case Binary::maximum: return binary_loop<Maximum, T, A, P>;
    case Binary::minimum: return binary_loop<Minimum, T, A, P>;
    case Binary::eq: return compare_loop<Eq, T, A>;
    case Binary::ne: return compare_loop<Ne, T, A>;
    case Binary::lt: return compare_loop<Lt, T, A>;
    case Binary::le: return compare_loop<Le, T, A>;
    case Binary::gt: return compare_loop<Gt, T, A>;
    case Binary::ge: return compare_loop<Ge, T, A>;
    case Binary::logical_and: return compare_loop<LogicalAnd, T, A>;
    case Binary::logical_or: return compare_loop<LogicalOr, T, A>;
    case Binary::logical_xor: return compare_loop<LogicalXor, T, A>;
    default: return nullptr;
  }
}

template <class T, class A>
BinaryFn binary_real(Binary op) {
  switch (op) {
    case Binary::div: return binary_loop<Div, T, A, A>;
    case Binary::pow: return binary_loop<Pow, T, A, A>;
    case Binary::axpy: return binary_loop<Axpy, T, A, A>;
    case Binary::prelu: return binary_loop<Prelu, T, A, A>;
    case Binary::relu_backward: return binary_loop<ReluBackward, T, A, A>;
    case Binary::relu6_backward: return binary_loop<Relu6Backward, T, A, A>;
    case Binary::leaky_relu_backward: return binary_loop<LeakyReluBackward, T, A, A>;
    case Binary::elu_backward: return binary_loop<EluBackward, T, A, A>;
    case Binary::selu_backward: return binary_loop<SeluBackward, T, A, A>;
    case Binary::celu_backward: return binary_loop<CeluBackward, T, A, A>;
    case Binary::gelu_backward: return binary_loop<GeluBackward, T, A, A>;
    case Binary::gelu_tanh_backward: return binary_loop<GeluTanhBackward, T, A, A>;
    case Binary::sigmoid_backward: return binary_loop<SigmoidBackward, T, A, A>;
    case Binary::tanh_backward: return binary_loop<TanhBackward, T, A, A>;
    case Binary::silu_backward: return binary_loop<SiluBackward, T, A, A>;
    case Binary::mish_backward: return binary_loop<MishBackward, T, A, A>;
    case Binary::softplus_backward: return binary_loop<SoftplusBackward, T, A, A>;
    case Binary::softsign_backward: return binary_loop<SoftsignBackward, T, A, A>;
    case Binary::hardtanh_backward: return binary_loop<HardtanhBackward, T, A, A>;
    case Binary::hardswish_backward: return binary_loop<HardswishBackward, T, A, A>;
    case Binary::hardsigmoid_backward: return binary_loop<HardsigmoidBackward, T, A, A>;
    case Binary::hardshrink_backward: return binary_loop<HardshrinkBackward, T, A, A>;
    case Binary::softshrink_backward: return binary_loop<HardshrinkBackward, T, A, A>;
    case Binary::tanhshrink_backward: return binary_loop<TanhshrinkBackward, T, A, A>;
    case Binary::logsigmoid_backward: return binary_loop<LogSigmoidBackward, T, A, A>;
    case Binary::threshold_backward: return binary_loop<ThresholdBackward, T, A, A>;
    default: return binary_number<T, A, A>(op);
  }
}
