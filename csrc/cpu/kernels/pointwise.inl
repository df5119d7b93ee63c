// Inner loops of the pointwise ops. T is the stored type, A the type of the arithmetic, P that of the parameters.
// Included once per instruction set (T = float) and by cpu/elementwise.cpp (everything else); simple loops, written so
// that the compiler vectorises the contiguous case.
#include "cpu/kernels/math.inl"
// After the functions that the formulas call.
#include "common/pointwise_formulas.inl"

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
