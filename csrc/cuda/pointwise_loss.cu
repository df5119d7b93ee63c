// Losses that are a function of one prediction and one target: one kernel forward with its reduction, one backward.
//
// The kind is a number at run time: all threads take the same branch, and nine kinds times four dtypes would be many
// kernels. A block adds the elements of one task of the problem; one more block adds the tasks. Both orders depend on the
// number of elements alone.
#include "common/pointwise_loss.h"
#include "cuda/dispatch.cuh"
#include "cuda/launch.cuh"
#include "cuda/pointwise_loss.h"
#include "cuda/reduce.cuh"
#include "cuda/vec.cuh"
#include "cuda/walk.cuh"

namespace fastcnn::cuda {
namespace {

using P = PointwiseLossParams;
constexpr int kThreads = 256;

/// Calls f(Formula) of the kind.
template <class F>
FC_DEVICE void with_formula(LossKind kind, F&& f) {
  using pointwise_loss::Formula;
  switch (kind) {
    case LossKind::mse: return f(Formula<LossKind::mse>());
    case LossKind::l1: return f(Formula<LossKind::l1>());
    case LossKind::smooth_l1: return f(Formula<LossKind::smooth_l1>());
    case LossKind::huber: return f(Formula<LossKind::huber>());
    case LossKind::bce: return f(Formula<LossKind::bce>());
    case LossKind::bce_logits: return f(Formula<LossKind::bce_logits>());
    case LossKind::kl_div: return f(Formula<LossKind::kl_div>());
    case LossKind::kl_div_log: return f(Formula<LossKind::kl_div_log>());
    default: return f(Formula<LossKind::focal>());
  }
}

template <class T>
struct Loss {
  LossKind kind;
  bool reduced;
  double p0, p1, share;  // share: 1 / divisor of the mean, in backward
  unsigned count;
  T* data[P::kOperands];
  Walk<P::kOperands> walk;

  /// An operand's number, or what stands for one that is absent.
  FC_METHOD double get(int operand, const int64_t (&at)[P::kOperands], double missing) const {
    return data[operand] ? static_cast<double>(widen(load(data[operand] + at[operand]))) : missing;
  }
  FC_METHOD void put(int operand, const int64_t (&at)[P::kOperands], double v) const {
    if (data[operand]) store(data[operand] + at[operand], Narrow<T>::of(static_cast<Wide<T>>(v)));
  }
};

template <class T>
FC_KERNEL loss_forward_kernel(Loss<T> l, double* partial) {
  const unsigned begin = blockIdx.x * unsigned{P::kTaskElems};
  const unsigned end = l.count - begin < P::kTaskElems ? l.count : begin + unsigned{P::kTaskElems};
  double sum = 0;
  for (unsigned i = begin + threadIdx.x; i < end; i += kThreads) {
    int64_t at[P::kOperands];
    l.walk.offsets(i, at);
    const double x = l.get(P::kX, at, 0), t = l.get(P::kTarget, at, 0);
    const double w = l.get(P::kWeight, at, 1), q = l.get(P::kPosWeight, at, 1);
    double one = 0;
    with_formula(l.kind, [&](auto formula) { one = w * formula.loss(x, t, q, l.p0, l.p1); });
    sum += one;
    if (!l.reduced) l.put(P::kLoss, at, one);
  }
  if (!l.reduced) return;
  sum = block_reduce<Sum, kThreads>(sum);
  if (threadIdx.x == 0) store(partial + blockIdx.x, sum);
}

/// One block. loss = sum of the tasks / divisor; of no tasks 0, or NaN for the mean.
template <class T>
FC_KERNEL loss_finish_kernel(T* loss, const double* partial, int64_t tasks, double divisor) {
  double sum = 0;
  for (int64_t task = threadIdx.x; task < tasks; task += kThreads) sum += load(partial + task);
  sum = block_reduce<Sum, kThreads>(sum);
  if (threadIdx.x == 0) store(loss, Narrow<T>::of(static_cast<Wide<T>>(sum / divisor)));
}

template <class T>
FC_KERNEL loss_backward_kernel(Loss<T> l) {
  const unsigned i = blockIdx.x * kThreads + threadIdx.x;
  if (i >= l.count) return;
  int64_t at[P::kOperands];
  l.walk.offsets(i, at);
  const double x = l.get(P::kX, at, 0), t = l.get(P::kTarget, at, 0);
  const double w = l.get(P::kWeight, at, 1), q = l.get(P::kPosWeight, at, 1);
  const double g = l.get(P::kDLoss, at, 0) * l.share * w;
  pointwise_loss::Slopes s;
  with_formula(l.kind, [&](auto formula) { s = formula.slopes(x, t, q, l.p0, l.p1); });
  l.put(P::kDx, at, g * s.dx);
  l.put(P::kDTarget, at, g * s.dt);
}

template <class T>
Loss<T> loss_of(const P& p) {
  FC_CHECK(p.numel <= kMaxIndices, "loss: input has ", p.numel, " elements, expected at most ", kMaxIndices,
           " on CUDA");
  Loss<T> l{p.kind,
            p.reduction != Reduction::none,
            p.p0,
            p.p1,
            p.reduction == Reduction::mean ? 1 / p.divisor : 1,
            static_cast<unsigned>(p.numel),
            {},
            {}};
  const int64_t* strides[P::kOperands];
  for (int k = 0; k < P::kOperands; ++k) {
    l.data[k] = static_cast<T*>(p.data[k]);
    strides[k] = p.strides[k];
  }
  l.walk = make_walk<P::kOperands>(p.ndim, p.shape, strides);
  return l;
}

}  // namespace

void pointwise_loss_forward(const P& p, void* stream_) {
  const auto stream = static_cast<cudaStream_t>(stream_);
  dispatch_device_float(p.dtype, "loss", [&](auto type) {
    using T = typename decltype(type)::type;
    launch("pointwise_loss", loss_forward_kernel<T>,
           {dim3(static_cast<unsigned>(p.tasks())), dim3(kThreads), stream}, loss_of<T>(p), p.partial);
    if (p.reduction == Reduction::none) return;
    launch("pointwise_loss", loss_finish_kernel<T>, {dim3(1), dim3(kThreads), stream},
           static_cast<T*>(p.data[P::kLoss]), p.partial, p.tasks(),
           p.reduction == Reduction::mean ? p.divisor : 1.0);
  });
}

void pointwise_loss_backward(const P& p, void* stream) {
  dispatch_device_float(p.dtype, "loss", [&](auto type) {
    using T = typename decltype(type)::type;
    const auto blocks = static_cast<unsigned>(ceil_div<int64_t>(p.numel, kThreads));
    launch("pointwise_loss_backward", loss_backward_kernel<T>,
           {dim3(blocks), dim3(kThreads), static_cast<cudaStream_t>(stream)}, loss_of<T>(p));
  });
}

}  // namespace fastcnn::cuda
