// Softmax and log-softmax along any axis. Rows whose axis is not innermost are walked with its stride.
#include <algorithm>

#include "cpu/isa.h"
#include "cpu/loss.h"
#include "cpu/thread_pool.h"

namespace fastcnn::cpu {

namespace {

#include "cpu/kernels/softmax.inl"

constexpr int64_t kTaskElems = 16384;

template <class F>
void for_each_row(const SoftmaxParams& p, F&& f) {
  const int64_t per_task = std::max<int64_t>(kTaskElems / std::max<int64_t>(p.classes, 1), 1);
  parallel_for((p.positions + per_task - 1) / per_task, [&](int64_t task, int) {
    const int64_t end = std::min((task + 1) * per_task, p.positions);
    for (int64_t i = task * per_task; i < end; ++i) f(i);
  });
}

template <class T>
SoftmaxKernels loops() {
  if constexpr (std::is_same_v<T, float>) return kernels().softmax;
  return softmax_kernels<T, Accumulator<T>>();
}

template <class T>
void forward(const SoftmaxParams& p) {
  const SoftmaxKernels k = loops<T>();
  for_each_row(p, [&](int64_t i) {
    k.forward(static_cast<T*>(p.y_data) + p.y.offset(i), static_cast<const T*>(p.x_data) + p.x.offset(i),
              p.classes, p.y.step, p.x.step, p.log);
  });
}

template <class T>
void backward(const SoftmaxParams& p) {
  const SoftmaxKernels k = loops<T>();
  for_each_row(p, [&](int64_t i) {
    k.backward(static_cast<T*>(p.y_data) + p.y.offset(i), static_cast<const T*>(p.x_data) + p.x.offset(i),
               static_cast<const T*>(p.dy_data) + p.dy.offset(i), p.classes, p.y.step, p.x.step, p.dy.step,
               p.log);
  });
}

}  // namespace

void softmax_forward(const SoftmaxParams& p) {
  dispatch_float(p.dtype, "softmax", [&](auto type) { forward<typename decltype(type)::type>(p); });
}
void softmax_backward(const SoftmaxParams& p) {
  dispatch_float(p.dtype, "softmax", [&](auto type) { backward<typename decltype(type)::type>(p); });
}

}  // namespace fastcnn::cpu
