// One optimizer step for a list of tensors: the rules of common/optim_rules.inl, element by element. The list travels as
// a kernel parameter, so that a step over a whole network is one launch (or a few: 4 KiB of parameters hold 24 tensors).
#include "cuda/dispatch.cuh"
#include "cuda/launch.cuh"
#include "cuda/optim.h"
#include "cuda/vec.cuh"

namespace fastcnn::cuda {
namespace {

#include "common/optim_rules.inl"

constexpr int kThreads = 256, kPerThread = 4, kItems = 24;
constexpr int64_t kPerBlock = int64_t{kThreads} * kPerThread;

struct Batch {
  OptimItem items[kItems];  // first_task counts blocks
  int count;
};
static_assert(sizeof(Batch) <= 4000, "kernel parameters");

template <class Rule, class T>
FC_KERNEL optim_kernel(Batch batch) {
  using A = Wide<T>;
  int which = 0;  // the last item that begins at or before this block
  while (which + 1 < batch.count && batch.items[which + 1].first_task <= blockIdx.x) ++which;
  const OptimItem& item = batch.items[which];
  const A sign = static_cast<A>(item.numbers.sign), decay = static_cast<A>(item.numbers.decay),
          shrink = static_cast<A>(item.numbers.shrink);
  A n[kOptimNumbers];
  FC_UNROLL
  for (int i = 0; i < kOptimNumbers; ++i) n[i] = static_cast<A>(item.numbers.n[i]);
  T* const param = static_cast<T*>(item.param);
  const T* const grad = static_cast<const T*>(item.grad);
  A *const s0 = static_cast<A*>(item.state[0]), *const s1 = static_cast<A*>(item.state[1]),
           *const s2 = static_cast<A*>(item.state[2]);

  const int64_t begin = (blockIdx.x - item.first_task) * kPerBlock + threadIdx.x;
  FC_UNROLL
  for (int j = 0; j < kPerThread; ++j) {
    const int64_t i = begin + j * kThreads;
    if (i >= item.count) break;
    A x = widen(load(param + i)), g = sign * widen(load(grad + i)), a = 0, b = 0, c = 0;
    if constexpr (Rule::kStates > 0) a = load(s0 + i);
    if constexpr (Rule::kStates > 1) b = load(s1 + i);
    if constexpr (Rule::kStates > 2) c = load(s2 + i);
    g = decay != 0 ? g + decay * x : g;  // no 0 * inf where there is no decay
    x *= shrink;
    Rule::f(x, g, a, b, c, n);
    store(param + i, Narrow<T>::of(x));
    if constexpr (Rule::kStates > 0) store(s0 + i, a);
    if constexpr (Rule::kStates > 1) store(s1 + i, b);
    if constexpr (Rule::kStates > 2) store(s2 + i, c);
  }
}

template <class T>
using Kernel = void (*)(Batch);

template <class T>
Kernel<T> find(OptimRule rule) {
  switch (rule) {
    case OptimRule::sgd: return optim_kernel<Sgd, T>;
    case OptimRule::sgd_momentum: return optim_kernel<SgdMomentum, T>;
    case OptimRule::adam: return optim_kernel<Adam, T>;
    case OptimRule::adam_amsgrad: return optim_kernel<AdamAmsgrad, T>;
    case OptimRule::rmsprop: return optim_kernel<RmsProp, T>;
    case OptimRule::rmsprop_momentum: return optim_kernel<RmsPropMomentum, T>;
    case OptimRule::rmsprop_centered: return optim_kernel<RmsPropCentered, T>;
    case OptimRule::rmsprop_centered_momentum: return optim_kernel<RmsPropCenteredMomentum, T>;
    case OptimRule::adagrad: return optim_kernel<Adagrad, T>;
    case OptimRule::adadelta: return optim_kernel<Adadelta, T>;
    case OptimRule::adamax: return optim_kernel<Adamax, T>;
    case OptimRule::nadam: return optim_kernel<NAdam, T>;
    case OptimRule::radam: return optim_kernel<RAdam, T>;
    default: return optim_kernel<Lion, T>;
  }
}

}  // namespace

void optim(const OptimParams& params, void* stream) {
  dispatch_device_float(params.dtype, "optim", [&](auto type) {
    using T = typename decltype(type)::type;
    for (int64_t first = 0; first < params.item_count; first += kItems) {
      Batch batch{};
      int64_t blocks = 0;
      for (int64_t i = first; i < params.item_count && batch.count < kItems; ++i) {
        OptimItem& item = batch.items[batch.count++] = params.items[i];
        item.first_task = blocks;
        blocks += ceil_div<int64_t>(item.count, kPerBlock);
      }
      launch("optim", find<T>(params.rule),
             {dim3(static_cast<unsigned>(blocks)), dim3(kThreads), static_cast<cudaStream_t>(stream)}, batch);
    }
  });
}

}  // namespace fastcnn::cuda
