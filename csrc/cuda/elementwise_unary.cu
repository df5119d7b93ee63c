// Pointwise ops: the formulas of the CPU, driven by map.cuh. Two kinds of function objects: Fixed is one formula, for the
// ops that networks are made of; Any chooses among all of them by a switch that every thread takes alike, so that 90
// ops times eight dtypes are not 1,500 kernels. A memory-bound kernel hides the switch.
#include "cuda/elementwise.h"
#include "cuda/pointwise.cuh"
#include "cuda/transpose.h"
#include "cuda/trigonometry.h"

namespace fastcnn::cuda {
namespace {

// clang-format off: which formula belongs to which op. Number: every dtype but bool; Real: float dtypes only
// (sin and cos are in trigonometry.cu).
#define FC_UNARY_NUMBER(X) \
  X(neg, Neg) X(abs, Abs) X(sign, Sign) X(square, Square) X(clamp, Clamp) X(add_scalar, AddScalar) \
  X(mul_scalar, MulScalar) X(relu, Relu)
#define FC_UNARY_REAL(X) \
  X(exp, Exp) X(expm1, Expm1) X(log, Log) X(log1p, Log1p) X(sqrt, Sqrt) X(rsqrt, Rsqrt) \
  X(reciprocal, Reciprocal) X(erf, Erf) X(floor, Floor) X(ceil, Ceil) X(round, Round) \
  X(pow_scalar, PowScalar) X(div_scalar, DivScalar) X(relu6, Relu6) X(leaky_relu, LeakyRelu) X(elu, Elu) \
  X(selu, Selu) X(celu, Celu) X(gelu, Gelu) X(gelu_tanh, GeluTanh) X(sigmoid, Sigmoid) X(tanh, Tanh) \
  X(silu, Silu) X(mish, Mish) X(softplus, Softplus) X(softsign, Softsign) X(hardtanh, Hardtanh) \
  X(hardswish, Hardswish) X(hardsigmoid, Hardsigmoid) X(hardshrink, Hardshrink) X(softshrink, Softshrink) \
  X(tanhshrink, Tanhshrink) X(logsigmoid, LogSigmoid) X(threshold, Threshold)
#define FC_PREDICATES(X) \
  X(isfinite, IsFinite) X(isnan, IsNan) X(isinf, IsInf) X(logical_not, LogicalNot)
// clang-format on

#define FC_CASE_U(op, Formula) \
  case Unary::op: return Narrow<T>::of(Formula::f(v, p, q));
template <class T>
struct AnyUnary {
  static constexpr int kMost = 4;
  Unary which;
  Parameter<T> p, q;
  FC_METHOD T operator()(T x) const {
    const Wide<T> v = widen(x);
    switch (which) {
      FC_UNARY_NUMBER(FC_CASE_U)
      default: break;
    }
    if constexpr (kIsReal<T>) {
      switch (which) {
        FC_UNARY_REAL(FC_CASE_U)
        default: break;
      }
    }
    return x;
  }
};

template <class T>
struct AnyPredicate {
  Unary which;
  FC_METHOD bool operator()(T x) const {
    const Wide<T> v = widen(x);
#define FC_CASE(op, Formula) \
  case Unary::op: return Formula::f(v, v);
    switch (which) {
      FC_PREDICATES(FC_CASE)
      default: return false;
    }
#undef FC_CASE
  }
};

/// The number as fill() stores it: by way of the arithmetic's type, as on the CPU.
template <class T>
T host_value(double number) {
  const auto p = static_cast<Parameter<T>>(number);
  if constexpr (sizeof(T) == 2) {
    T out;
    const auto bits = std::is_same_v<T, __half> ? Half(p).bits : BFloat16(p).bits;
    std::memcpy(&out, &bits, sizeof(T));
    return out;
  } else {
    return static_cast<T>(static_cast<Wide<T>>(p));
  }
}

template <class T>
struct Constant {
  T value;
  FC_METHOD T operator()() const { return value; }
};
template <class T>
struct Same {
  FC_METHOD T operator()(T x) const { return x; }
};
// ---- conversions -----------------------------------------------------------------------------------------------

/// Floats come as float64, which holds them all, integers as int64. To an integer: NaN is 0, the rest saturates.
template <class To, class Wide_>
FC_DEVICE To converted(Wide_ v) {
  if constexpr (std::is_same_v<To, bool>) {
    return v != 0;
  } else if constexpr (std::is_integral_v<To> && std::is_floating_point_v<Wide_>) {
    if (v != v) return To(0);
    if (v <= static_cast<double>(kLowest<To>)) return kLowest<To>;
    if (v >= static_cast<double>(kHighest<To>)) return kHighest<To>;
    return static_cast<To>(v);
  } else if constexpr (sizeof(To) == 2) {
    return Narrow<To>::of(static_cast<float>(v));
  } else {
    return static_cast<To>(v);
  }
}

/// Element `at` of memory of any dtype, as a To.
template <class To>
FC_DEVICE To converted_from(const void* x, DType from, int64_t at) {
  switch (from) {
    case DType::float32: return converted<To>(static_cast<double>(load(static_cast<const float*>(x) + at)));
    case DType::float64: return converted<To>(load(static_cast<const double*>(x) + at));
    case DType::float16:
      return converted<To>(static_cast<double>(widen(load(static_cast<const __half*>(x) + at))));
    case DType::bfloat16:
      return converted<To>(static_cast<double>(widen(load(static_cast<const __nv_bfloat16*>(x) + at))));
    case DType::int32: return converted<To>(static_cast<int64_t>(load(static_cast<const int32_t*>(x) + at)));
    case DType::int64: return converted<To>(load(static_cast<const int64_t*>(x) + at));
    default: return converted<To>(static_cast<int64_t>(load(static_cast<const uint8_t*>(x) + at)));
  }
}

template <class To>
FC_KERNEL convert_kernel(unsigned count, Walk<2> walk, To* y, const void* x, DType from) {
  const unsigned i = blockIdx.x * kMapThreads + threadIdx.x;
  if (i >= count) return;
  int64_t at[2];
  walk.offsets(i, at);
  store(y + at[0], converted_from<To>(x, from, at[1]));
}

void convert(const Loop& loop, cudaStream_t stream) {
  FC_CHECK(loop.numel <= kMaxIndices, "copy: a conversion of ", loop.numel, " elements, expected at most ",
           kMaxIndices, "; convert in parts");
  const int64_t* const strides[] = {loop.strides[0], loop.strides[1]};
  const auto count = static_cast<unsigned>(loop.numel);
  dispatch_device(loop.dtype[0], [&](auto type) {
    using To = typename decltype(type)::type;
    launch("copy", convert_kernel<To>,
           {dim3(ceil_div<unsigned>(count, kMapThreads)), dim3(kMapThreads), stream}, count,
           make_walk(loop.ndim, loop.shape, strides), static_cast<To*>(loop.data[0]),
           static_cast<const void*>(loop.data[1]), loop.dtype[1]);
  });
}

/// NCHW to NHWC, back, and every other exchange of two axes of dense tensors: tiles through shared memory, because
/// either side alone would be read or written with gaps.
bool exchanges_two_axes(const Loop& loop, TransposeArgs& t) {
  if (loop.ndim != 2 && loop.ndim != 3) return false;
  const int row = loop.ndim - 2, column = loop.ndim - 1;
  const int64_t rows = loop.shape[row], columns = loop.shape[column];  // of y
  const bool y_dense = loop.strides[0][column] == 1 && loop.strides[0][row] == columns;
  const bool x_dense = loop.strides[1][row] == 1 && loop.strides[1][column] == rows;
  const bool batch =
      loop.ndim == 2 || (loop.strides[0][0] == rows * columns && loop.strides[1][0] == rows * columns);
  t = {static_cast<int>(size_of(loop.dtype[0])), loop.data[1], loop.data[0],
       loop.ndim == 3 ? loop.shape[0] : 1,       columns,      rows};
  return y_dense && x_dense && batch && rows >= 8 && columns >= 8;
}

void copy(const Loop& loop, cudaStream_t stream) {
  if (loop.dtype[0] != loop.dtype[1]) return convert(loop, stream);
  if (TransposeArgs t; exchanges_two_axes(loop, t)) return transpose(t, stream);
  with_bytes(size_of(loop.dtype[0]), [&](auto zero) {
    using T = decltype(zero);
    map<T, T>("copy", Same<T>{}, loop, stream);
  });
}

}  // namespace

void unary(const UnaryParams& params, void* stream_) {
  const auto stream = static_cast<cudaStream_t>(stream_);
  const Loop& loop = params.loop;
  const char* name = name_of(params.op);
  if (params.op == Unary::copy) return copy(loop, stream);
  dispatch_device(loop.dtype[1], [&](auto type) {
    using T = typename decltype(type)::type;
    const auto p = static_cast<Parameter<T>>(params.p0), q = static_cast<Parameter<T>>(params.p1);
    const auto fixed = [&](auto formula) {
      map<T, T>(name, Fixed<decltype(formula), T>{p, q}, loop, stream);
    };
    switch (params.op) {
      case Unary::fill: return map<T>(name, Constant<T>{host_value<T>(params.p0)}, loop, stream);
      case Unary::isfinite:
      case Unary::isnan:
      case Unary::isinf:
      case Unary::logical_not: return map<bool, T>(name, AnyPredicate<T>{params.op}, loop, stream);
      default: break;
    }
    if constexpr (kIsReal<T>) {
      switch (params.op) {
        case Unary::sin:
        case Unary::cos: return trigonometry(params, stream_);
        case Unary::relu: return fixed(Relu{});
        case Unary::add_scalar: return fixed(AddScalar{});
        case Unary::mul_scalar: return fixed(MulScalar{});
        default: break;
      }
    }
    map<T, T>(name, AnyUnary<T>{params.op, p, q}, loop, stream);
  });
}

}  // namespace fastcnn::cuda
