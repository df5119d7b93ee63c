// Softmax cross entropy and negative log likelihood: one pass forward, one backward, a warp per position. The softmax is
// never stored: backward recomputes exp(x - lse) from the logits and one number per position.
#include "cuda/cross_entropy.h"
#include "cuda/dispatch.cuh"
#include "cuda/launch.cuh"
#include "cuda/reduce.cuh"
#include "cuda/vec.cuh"

namespace fastcnn::cuda {
namespace {

constexpr int kWarps = 8;

template <class T>
struct CrossEntropy {
  using A = Wide<T>;
  CrossEntropyParams p;
  double smooth;     // what each class gets of the smoothing
  int64_t per_task;  // positions of a block

  FC_METHOD double nan() const { return static_cast<double>(__int_as_float(0x7fffffff)); }

  FC_METHOD double weight(int64_t c) const {
    return p.weight ? static_cast<double>(widen(load(static_cast<const T*>(p.weight) + c * p.weight_stride)))
                    : 1.0;
  }
  FC_METHOD A logit(const T* row, int64_t c) const { return widen(load(row + c * p.logits.step)); }
  FC_METHOD const T* row(int64_t i) const { return static_cast<const T*>(p.x) + p.logits.offset(i); }
  FC_METHOD int64_t target_class(int64_t i) const {
    const int64_t at = p.target.offset(i);
    if (p.target_dtype == DType::int64) return load(static_cast<const int64_t*>(p.t) + at);
    if (p.target_dtype == DType::int32) return load(static_cast<const int32_t*>(p.t) + at);
    return load(static_cast<const uint8_t*>(p.t) + at);
  }
  FC_METHOD double share(const T* t, int64_t c) const {
    return (1 - p.smoothing) * static_cast<double>(widen(load(t + c * p.target.step))) + smooth;
  }

  FC_METHOD A log_sum_exp(const T* row, int lane) const {
    A high = kLowest<A>;
    for (int64_t c = lane; c < p.classes; c += 32) high = Max::of(logit(row, c), high);
    high = warp_reduce<Max>(high);
    if (!(high - high == 0)) return high - high;  // softmax is undefined: NaN
    double sum = 0;
    for (int64_t c = lane; c < p.classes; c += 32) sum += static_cast<double>(exp(logit(row, c) - high));
    return high + static_cast<A>(log(warp_reduce<Sum>(sum)));
  }
};

/// A block for each task of the problem: its warps take positions in turn and their sums are added in order, into
/// partial[2 task] (loss) and partial[2 task + 1] (share of the mean's divisor).
template <class T>
FC_KERNEL cross_entropy_forward_kernel(CrossEntropy<T> f) {
  using A = Wide<T>;
  FC_SHARED(double, sums, [kWarps][2]);
  const CrossEntropyParams& p = f.p;
  const int lane = static_cast<int>(threadIdx.x), warp = static_cast<int>(threadIdx.y);
  const int64_t begin = blockIdx.x * f.per_task;
  const int64_t end = begin + f.per_task < p.positions ? begin + f.per_task : p.positions;
  double total = 0, divisor = 0;
  for (int64_t i = begin + warp; i < end; i += kWarps) {
    const T* row = f.row(i);
    const A lse = p.log_probabilities ? A(0) : f.log_sum_exp(row, lane);
    const double base = static_cast<double>(lse);
    double loss = 0, share = 1;
    if (p.probabilities) {
      const T* t = static_cast<const T*>(p.t) + p.target.offset(i);
      for (int64_t c = lane; c < p.classes; c += 32) {
        const double part = f.share(t, c);  // 0 * inf is 0 here: a class that cannot be does not count
        if (part != 0) loss += part * f.weight(c) * (base - static_cast<double>(f.logit(row, c)));
      }
      loss = warp_reduce<Sum>(loss);
    } else {
      const int64_t y = f.target_class(i);
      if (y == p.ignore_index) {
        share = 0;
      } else if (y < 0 || y >= p.classes) {
        loss = share = f.nan();
      } else {
        if (p.smoothing > 0) {
          for (int64_t c = lane; c < p.classes; c += 32) {
            loss += f.smooth * f.weight(c) * (base - static_cast<double>(f.logit(row, c)));
          }
          loss = warp_reduce<Sum>(loss);
        }
        share = f.weight(y);
        loss += (1 - p.smoothing) * share * (base - static_cast<double>(f.logit(row, y)));
      }
    }
    if (lane == 0) {
      store(static_cast<A*>(p.saved) + i, lse);
      if (p.reduction == Reduction::none)
        store(static_cast<T*>(p.loss) + i, Narrow<T>::of(static_cast<A>(loss)));
    }
    total += loss;
    divisor += share;
  }
  if (lane == 0) {
    store(&sums[warp][0], total);
    store(&sums[warp][1], divisor);
  }
  __syncthreads();
  if (warp != 0 || lane != 0) return;
  for (int w = 1; w < kWarps; ++w) {
    total += load(&sums[w][0]);
    divisor += load(&sums[w][1]);
  }
  store(p.partial + 2 * blockIdx.x, total);
  store(p.partial + 2 * blockIdx.x + 1, divisor);
}

/// One thread adds the tasks in order: there are few of them.
template <class T>
FC_KERNEL cross_entropy_finish_kernel(CrossEntropyParams p, int64_t tasks) {
  using A = Wide<T>;
  double sum = 0, divisor = 0;
  for (int64_t task = 0; task < tasks; ++task) {
    sum += load(p.partial + 2 * task);
    divisor += load(p.partial + 2 * task + 1);
  }
  store(static_cast<A*>(p.saved) + p.positions, static_cast<A>(divisor));
  T* loss = static_cast<T*>(p.loss);
  if (p.reduction == Reduction::sum) store(loss, Narrow<T>::of(static_cast<A>(sum)));
  if (p.reduction == Reduction::mean)
    store(loss, Narrow<T>::of(static_cast<A>(sum / divisor)));  // nothing: NaN
}

/// A warp per position.
template <class T>
FC_KERNEL cross_entropy_backward_kernel(CrossEntropy<T> f) {
  using A = Wide<T>;
  const CrossEntropyParams& p = f.p;
  const int lane = static_cast<int>(threadIdx.x);
  const int64_t i = int64_t{blockIdx.x} * kWarps + threadIdx.y;
  if (i >= p.positions) return;
  const A* saved = static_cast<const A*>(p.saved);
  const T* dloss = static_cast<const T*>(p.dloss);
  double g = static_cast<double>(widen(load(dloss + (p.reduction == Reduction::none ? i : 0))));
  if (p.reduction == Reduction::mean) g /= static_cast<double>(load(saved + p.positions));
  const T* row = f.row(i);
  const A lse = load(saved + i);
  const auto softmax = [&](int64_t c) { return static_cast<double>(exp(f.logit(row, c) - lse)); };
  T* const dx = p.out_dx ? static_cast<T*>(p.out_dx) + p.dx.offset(i) : nullptr;
  if (p.probabilities) {
    const T* t = static_cast<const T*>(p.t) + p.target.offset(i);
    double total = 0;
    for (int64_t c = lane; c < p.classes; c += 32) total += f.share(t, c) * f.weight(c);
    total = warp_reduce<Sum>(total);
    T* const dt = p.out_dt ? static_cast<T*>(p.out_dt) + p.dx.offset(i) : nullptr;
    for (int64_t c = lane; c < p.classes; c += 32) {
      const double w = f.weight(c), cost = static_cast<double>(lse) - static_cast<double>(f.logit(row, c));
      if (dx)
        store(dx + c * p.dx.step,
              Narrow<T>::of(static_cast<A>(g * (total * softmax(c) - f.share(t, c) * w))));
      if (dt) store(dt + c * p.dx.step, Narrow<T>::of(static_cast<A>(g * (1 - p.smoothing) * w * cost)));
    }
    return;
  }
  const int64_t y = f.target_class(i);
  const bool ignored = y == p.ignore_index, wrong = !ignored && (y < 0 || y >= p.classes);
  double total = 0;
  if (!ignored && !wrong) {
    if (p.smoothing > 0) {
      for (int64_t c = lane; c < p.classes; c += 32) total += f.smooth * f.weight(c);
      total = warp_reduce<Sum>(total);
    }
    total += (1 - p.smoothing) * f.weight(y);
  }
  for (int64_t c = lane; c < p.classes; c += 32) {
    double v = ignored ? 0 : f.nan();
    if (!ignored && !wrong) {
      const double share =
          (c == y ? (1 - p.smoothing) * f.weight(y) : 0) + (p.smoothing > 0 ? f.smooth * f.weight(c) : 0);
      v = g * ((p.log_probabilities ? 0 : total * softmax(c)) - share);
    }
    store(dx + c * p.dx.step, Narrow<T>::of(static_cast<A>(v)));
  }
}

template <class T>
CrossEntropy<T> function_of(const CrossEntropyParams& p) {
  return {p, p.smoothing / static_cast<double>(p.classes), p.positions_per_task()};
}

}  // namespace

void cross_entropy_forward(const CrossEntropyParams& p, void* stream_) {
  const auto stream = static_cast<cudaStream_t>(stream_);
  dispatch_device_float(p.dtype, "cross_entropy", [&](auto type) {
    using T = typename decltype(type)::type;
    launch("cross_entropy", cross_entropy_forward_kernel<T>,
           {dim3(static_cast<unsigned>(p.tasks())), dim3(32, kWarps), stream}, function_of<T>(p));
    launch("cross_entropy", cross_entropy_finish_kernel<T>, {dim3(1), dim3(1), stream}, p, p.tasks());
  });
}

void cross_entropy_backward(const CrossEntropyParams& p, void* stream) {
  dispatch_device_float(p.dtype, "cross_entropy", [&](auto type) {
    using T = typename decltype(type)::type;
    const auto blocks = static_cast<unsigned>(ceil_div<int64_t>(p.positions, kWarps));
    launch("cross_entropy", cross_entropy_backward_kernel<T>,
           {dim3(blocks), dim3(32, kWarps), static_cast<cudaStream_t>(stream)}, function_of<T>(p));
  });
}

}  // namespace fastcnn::cuda
