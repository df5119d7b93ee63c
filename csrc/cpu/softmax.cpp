// Softmax and log-softmax along any axis. Rows whose axis is not innermost are walked with its stride.
#include <algorithm>

#include "cpu/isa.h"
#include "cpu/loss.h"
#include "cpu/thread_pool.h"

namespace fastcnn::cpu {

namespace {

#include "cpu/kernels/softmax.inl"

constexpr int64_t kTaskElems = 16384;

/// Makes an axis along which rows lie side by side the last of the other axes, if there is one; their order is free.
bool side_by_side(SoftmaxParams& p, bool backward) {
  if (p.dtype != DType::float32 || (p.x.step == 1 && p.y.step == 1)) return false;
  const int last = p.x.ndim - 1;
  for (int i = last; i >= 0; --i) {
    if (p.x.shape[i] < 2 || p.x.strides[i] != 1 || p.y.strides[i] != 1) continue;
    if (backward && p.dy.strides[i] != 1) continue;
    for (RowLayout* rows : {&p.x, &p.y, &p.dy}) {
      std::swap(rows->shape[i], rows->shape[last]);
      std::swap(rows->strides[i], rows->strides[last]);
    }
    return true;
  }
  return false;
}

/// Calls f(first row, rows) for runs along the last of the other axes.
template <class F>
void for_each_run(const SoftmaxParams& p, bool beside, F&& f) {
  const int64_t length = p.x.ndim ? p.x.shape[p.x.ndim - 1] : 1, lines = p.positions / length;
  const int64_t task_rows = std::max<int64_t>(kTaskElems / p.classes, 1);
  const int64_t most = beside ? int64_t(kSoftmaxColumns) : task_rows;
  const int64_t runs = (length + most - 1) / most, width = (length + runs - 1) / runs, count = lines * runs;
  const int64_t per_task = std::max<int64_t>(task_rows / width, 1);
  parallel_for((count + per_task - 1) / per_task, [&](int64_t task, int) {
    for (int64_t i = task * per_task; i < std::min((task + 1) * per_task, count); ++i) {
      const int64_t begin = i % runs * width;
      if (begin < length) f(i / runs * length + begin, std::min(width, length - begin));
    }
  });
}

int64_t row_stride(const RowLayout& rows) { return rows.ndim ? rows.strides[rows.ndim - 1] : 0; }

template <class T>
SoftmaxKernels loops() {
  if constexpr (std::is_same_v<T, float>) return kernels().softmax;
  return softmax_kernels<T, Accumulator<T>>();
}

template <class T>
void forward(SoftmaxParams p) {
  const SoftmaxKernels k = loops<T>();
  const bool beside = side_by_side(p, false);
  const int64_t y_stride = row_stride(p.y), x_stride = row_stride(p.x);
  for_each_run(p, beside, [&](int64_t first, int64_t rows) {
    T* y = static_cast<T*>(p.y_data) + p.y.offset(first);
    const T* x = static_cast<const T*>(p.x_data) + p.x.offset(first);
    if constexpr (std::is_same_v<T, float>)
      if (beside) return k.forward_columns(y, x, p.classes, rows, p.y.step, p.x.step, p.log);
    for (int64_t i = 0; i < rows; ++i)
      k.forward(y + i * y_stride, x + i * x_stride, p.classes, p.y.step, p.x.step, p.log);
  });
}

template <class T>
void backward(SoftmaxParams p) {
  const SoftmaxKernels k = loops<T>();
  const bool beside = side_by_side(p, true);
  const int64_t x_stride = row_stride(p.y), y_stride = row_stride(p.x), dy_stride = row_stride(p.dy);
  for_each_run(p, beside, [&](int64_t first, int64_t rows) {
    T* dx = static_cast<T*>(p.y_data) + p.y.offset(first);
    const T* y = static_cast<const T*>(p.x_data) + p.x.offset(first);
    const T* dy = static_cast<const T*>(p.dy_data) + p.dy.offset(first);
    if constexpr (std::is_same_v<T, float>)
      if (beside) return k.backward_columns(dx, y, dy, p.classes, rows, p.y.step, p.x.step, p.dy.step, p.log);
    for (int64_t i = 0; i < rows; ++i)
      k.backward(dx + i * x_stride, y + i * y_stride, dy + i * dy_stride, p.classes, p.y.step, p.x.step,
                 p.dy.step, p.log);
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
