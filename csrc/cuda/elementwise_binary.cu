// Pointwise ops of two operands, and where. As in elementwise_unary.cu: Fixed for the ops that networks are made of, a
// switch for the rest.
#include "cuda/elementwise.h"
#include "cuda/pointwise.cuh"

namespace fastcnn::cuda {
namespace {

// clang-format off: which formula belongs to which op. Number: every dtype but bool; Real: float dtypes only
#define FC_BINARY_NUMBER(X) \
  X(add, Add) X(sub, Sub) X(mul, Mul) X(maximum, Maximum) X(minimum, Minimum)
#define FC_BINARY_REAL(X) \
  X(div, Div) X(pow, Pow) X(axpy, Axpy) X(prelu, Prelu) X(relu_backward, ReluBackward) \
  X(relu6_backward, Relu6Backward) X(leaky_relu_backward, LeakyReluBackward) X(elu_backward, EluBackward) \
  X(selu_backward, SeluBackward) X(celu_backward, CeluBackward) X(gelu_backward, GeluBackward) \
  X(gelu_tanh_backward, GeluTanhBackward) X(sigmoid_backward, SigmoidBackward) X(tanh_backward, TanhBackward) \
  X(silu_backward, SiluBackward) X(mish_backward, MishBackward) X(softplus_backward, SoftplusBackward) \
  X(softsign_backward, SoftsignBackward) X(hardtanh_backward, HardtanhBackward) \
  X(hardswish_backward, HardswishBackward) X(hardsigmoid_backward, HardsigmoidBackward) \
  X(hardshrink_backward, HardshrinkBackward) X(softshrink_backward, HardshrinkBackward) \
  X(tanhshrink_backward, TanhshrinkBackward) X(logsigmoid_backward, LogSigmoidBackward) \
  X(threshold_backward, ThresholdBackward)
#define FC_COMPARISONS(X) \
  X(eq, Eq) X(ne, Ne) X(lt, Lt) X(le, Le) X(gt, Gt) X(ge, Ge) X(logical_and, LogicalAnd) \
  X(logical_or, LogicalOr) X(logical_xor, LogicalXor)
// clang-format on

#define FC_CASE_B(op, Formula) \
  case Binary::op: return Narrow<T>::of(Formula::f(v, w, p, q));

template <class T>
struct AnyBinary {
  static constexpr int kMost = 4;
  Binary which;
  Parameter<T> p, q;
  FC_METHOD T operator()(T a, T b) const {
    const Wide<T> v = widen(a), w = widen(b);
    switch (which) {
      FC_BINARY_NUMBER(FC_CASE_B)
      default: break;
    }
    if constexpr (kIsReal<T>) {
      switch (which) {
        FC_BINARY_REAL(FC_CASE_B)
        default: break;
      }
    }
    return a;
  }
};

template <class T>
struct AnyComparison {
  Binary which;
  FC_METHOD bool operator()(T a, T b) const {
    const Wide<T> v = widen(a), w = widen(b);
#define FC_CASE(op, Formula) \
  case Binary::op: return Formula::f(v, w);
    switch (which) {
      FC_COMPARISONS(FC_CASE)
      default: return false;
    }
#undef FC_CASE
  }
};

template <class T>
struct Choose {
  FC_METHOD T operator()(bool condition, T a, T b) const { return condition ? a : b; }
};

/// Operands in memory, or one of them a number.
template <class Y, class T, class Op>
void run(const BinaryParams& params, const Op& op, cudaStream_t stream) {
  Loop loop = params.loop;
  if (params.scalar_operand) loop.data[params.scalar_operand] = nullptr;
  map<Y, T, T>(name_of(params.op), op, loop, stream, params.scalar);
}

}  // namespace

void binary(const BinaryParams& params, void* stream_) {
  const auto stream = static_cast<cudaStream_t>(stream_);
  dispatch_device(params.loop.dtype[1], [&](auto type) {
    using T = typename decltype(type)::type;
    if (params.op >= Binary::eq && params.op <= Binary::logical_xor)
      return run<bool, T>(params, AnyComparison<T>{params.op}, stream);
    const auto p = static_cast<Parameter<T>>(params.p0), q = static_cast<Parameter<T>>(params.p1);
    if constexpr (kIsReal<T>) {
      switch (params.op) {
        case Binary::add: return run<T, T>(params, Fixed<Add, T>{p, q}, stream);
        case Binary::mul: return run<T, T>(params, Fixed<Mul, T>{p, q}, stream);
        case Binary::relu_backward: return run<T, T>(params, Fixed<ReluBackward, T>{p, q}, stream);
        default: break;
      }
    }
    run<T, T>(params, AnyBinary<T>{params.op, p, q}, stream);
  });
}

void where(const WhereParams& params, void* stream) {
  with_bytes(size_of(params.loop.dtype[0]), [&](auto zero) {
    using T = decltype(zero);
    map<T, bool, T, T>("where", Choose<T>{}, params.loop, static_cast<cudaStream_t>(stream));
  });
}

}  // namespace fastcnn::cuda
