// Softmax cross entropy and negative log likelihood: one kernel forward, one backward. The softmax itself is never
// stored: backward recomputes exp(x - lse) from the logits and one number per position.
#include <cmath>
#include <limits>

#include "cpu/isa.h"
#include "cpu/loss.h"
#include "cpu/thread_pool.h"

namespace fastcnn::cpu {

namespace {

#include "cpu/kernels/softmax.inl"

int64_t index_at(const CrossEntropyParams& p, int64_t offset) {
  switch (p.target_dtype) {
    case DType::int64: return static_cast<const int64_t*>(p.t)[offset];
    case DType::int32: return static_cast<const int32_t*>(p.t)[offset];
    default: return static_cast<const uint8_t*>(p.t)[offset];
  }
}

// Before anything is written, so that a bad label leaves no half-made result.
void check_targets(const CrossEntropyParams& p) {
  for (int64_t i = 0; i < p.positions; ++i) {
    const int64_t y = index_at(p, p.target.offset(i));
    if (y != p.ignore_index && (y < 0 || y >= p.classes))
      fail<IndexError>(p.log_probabilities ? "nll_loss" : "cross_entropy", ": target ", y, " at position ", i,
                       " is out of range, expected 0 to ", p.classes - 1, " (", p.classes,
                       " classes) or ignore_index ", p.ignore_index);
  }
}

template <class T>
struct CrossEntropy {
  using A = Accumulator<T>;
  const CrossEntropyParams& p;
  const T *x = static_cast<const T*>(p.x), *weight = static_cast<const T*>(p.weight);
  double smooth = p.smoothing / double(p.classes);  ///< what each class gets
  double weight_sum = 0;
  SoftmaxKernels k;
  explicit CrossEntropy(const CrossEntropyParams& params) : p(params) {
    for (int64_t c = 0; c < p.classes; ++c) weight_sum += w(c);
    if constexpr (std::is_same_v<T, float>) {
      k = kernels().softmax;
    } else {
      k = softmax_kernels<T, A>();
    }
  }

  double w(int64_t c) const { return weight ? double(A(weight[c * p.weight_stride])) : 1.0; }

  A log_sum_exp(const T* row) const {
    const double high = k.max(row, p.classes, p.logits.step);
    if (!(std::abs(high) < std::numeric_limits<A>::infinity()))
      return A(high - high);  // softmax is undefined: NaN
    return A(high) + A(std::log(k.exp_sum(row, p.classes, p.logits.step, high)));
  }

  // The loss of one position and its share of the mean's divisor.
  void position(int64_t i, double& loss, double& divisor) const {
    const T* row = x + p.logits.offset(i);
    A* saved = static_cast<A*>(p.saved);
    const A lse = p.log_probabilities ? A(0) : log_sum_exp(row);
    saved[i] = lse;
    const auto cost = [&](int64_t c) { return double(lse) - double(A(row[c * p.logits.step])); };
    loss = divisor = 0;
    if (p.probabilities) {
      const T* t = static_cast<const T*>(p.t) + p.target.offset(i);
      for (int64_t c = 0; c < p.classes; ++c) {
        const double share = (1 - p.smoothing) * double(A(t[c * p.target.step])) + smooth;
        if (share != 0)
          loss += share * w(c) * cost(c);  // 0 * inf is 0 here: a class that cannot be does not count
      }
      divisor = 1;
      return;
    }
    const int64_t y = index_at(p, p.target.offset(i));
    if (y == p.ignore_index) return;
    loss = (1 - p.smoothing) * w(y) * cost(y);
    if (p.smoothing > 0)
      for (int64_t c = 0; c < p.classes; ++c) loss += smooth * w(c) * cost(c);
    divisor = w(y);
  }

  void forward() const {
    T* out = static_cast<T*>(p.loss);
    const int64_t per_task = p.positions_per_task(), tasks = p.tasks();
    parallel_for(tasks, [&](int64_t task, int) {
      double sum = 0, divisor = 0;
      for (int64_t i = task * per_task; i < p.positions && i < (task + 1) * per_task; ++i) {
        double one, share;
        position(i, one, share);
        sum += one;
        divisor += share;
        if (p.reduction == Reduction::none) out[i] = T(A(one));
      }
      p.partial[2 * task] = sum;
      p.partial[2 * task + 1] = divisor;
    });
    double sum = 0, divisor = 0;
    for (int64_t task = 0; task < tasks; ++task) {
      sum += p.partial[2 * task];
      divisor += p.partial[2 * task + 1];
    }
    static_cast<A*>(p.saved)[p.positions] = A(divisor);
    if (p.reduction == Reduction::sum) out[0] = T(A(sum));
    if (p.reduction == Reduction::mean) out[0] = T(A(sum / divisor));  // nothing counted: 0 / 0 = NaN
  }

  void backward() const {
    const T* dloss = static_cast<const T*>(p.dloss);
    const A* saved = static_cast<const A*>(p.saved);
    const double shared = p.reduction == Reduction::none  ? 1.0
                          : p.reduction == Reduction::sum ? double(A(dloss[0]))
                                                          : double(A(dloss[0])) / double(saved[p.positions]);
    const int64_t per_task = p.positions_per_task();
    parallel_for(p.tasks(), [&](int64_t task, int) {
      for (int64_t i = task * per_task; i < p.positions && i < (task + 1) * per_task; ++i)
        position_backward(i, p.reduction == Reduction::none ? double(A(dloss[i])) : shared);
    });
  }

  void position_backward(int64_t i, double g) const {
    const T* row = x + p.logits.offset(i);
    const A lse = static_cast<const A*>(p.saved)[i];
    T* dx = p.out_dx ? static_cast<T*>(p.out_dx) + p.dx.offset(i) : nullptr;
    if (p.probabilities) {
      const T* t = static_cast<const T*>(p.t) + p.target.offset(i);
      double total = 0;
      for (int64_t c = 0; c < p.classes; ++c)
        total += ((1 - p.smoothing) * double(A(t[c * p.target.step])) + smooth) * w(c);
      for (int64_t c = 0; dx && c < p.classes; ++c) {
        const double share = ((1 - p.smoothing) * double(A(t[c * p.target.step])) + smooth) * w(c);
        const double softmax = double(m_exp(A(row[c * p.logits.step]) - lse));
        dx[c * p.dx.step] = T(A(g * (total * softmax - share)));
      }
      T* dt = p.out_dt ? static_cast<T*>(p.out_dt) + p.dx.offset(i) : nullptr;
      for (int64_t c = 0; dt && c < p.classes; ++c)
        dt[c * p.dx.step] =
            T(A(g * (1 - p.smoothing) * w(c) * (double(lse) - double(A(row[c * p.logits.step])))));
      return;
    }
    const int64_t y = index_at(p, p.target.offset(i));
    if (y == p.ignore_index) {
      for (int64_t c = 0; c < p.classes; ++c) dx[c * p.dx.step] = T(A(0));
      return;
    }
    const double total = (1 - p.smoothing) * w(y) + (p.smoothing > 0 ? smooth * weight_sum : 0);
    if (!p.log_probabilities &&
        (!weight || p.smoothing == 0)) {  // all classes but the target have the same share
      k.exp_scaled(dx, row, p.classes, p.dx.step, p.logits.step, double(lse), g * total,
                   p.smoothing > 0 ? g * smooth : 0);
      const double share = (1 - p.smoothing) * w(y) + (p.smoothing > 0 ? smooth : 0);
      const double softmax = total * double(m_exp(A(row[y * p.logits.step]) - lse));
      dx[y * p.dx.step] = T(A(g * (softmax - share)));
      return;
    }
    for (int64_t c = 0; c < p.classes; ++c) {
      const double share = (c == y ? (1 - p.smoothing) * w(y) : 0) + (p.smoothing > 0 ? smooth * w(c) : 0);
      const double softmax = p.log_probabilities ? 0 : total * double(m_exp(A(row[c * p.logits.step]) - lse));
      dx[c * p.dx.step] = T(A(g * (softmax - share)));
    }
  }
};

}  // namespace

void cross_entropy_forward(const CrossEntropyParams& p) {
  if (!p.probabilities) check_targets(p);
  dispatch_float(p.dtype, "cross_entropy",
                 [&](auto type) { CrossEntropy<typename decltype(type)::type>(p).forward(); });
}
void cross_entropy_backward(const CrossEntropyParams& p) {
  dispatch_float(p.dtype, "cross_entropy",
                 [&](auto type) { CrossEntropy<typename decltype(type)::type>(p).backward(); });
}

}  // namespace fastcnn::cpu
