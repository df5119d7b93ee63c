// Layer norm and RMS norm. A row is read from memory once and then from cache: mean, squares about it, result.
#include <algorithm>

#include "cpu/isa.h"
#include "cpu/norm.h"
#include "cpu/stream.h"
#include "cpu/thread_pool.h"

namespace fastcnn::cpu {

namespace {

#include "cpu/kernels/row_norm.inl"

constexpr int64_t kTaskElems = 16384;

template <class T>
RowNormKernels loops() {
  if constexpr (std::is_same_v<T, float>) return kernels().row_norm;
  return row_norm_kernels<T, Accumulator<T>>();
}

/// Calls f(first row, rows) for runs of rows.
template <class F>
void for_each_run(const RowNormParams& p, F&& f) {
  const int64_t per_task = std::max<int64_t>(kTaskElems / std::max<int64_t>(p.size, 1), 1);
  parallel_for((p.rows + per_task - 1) / per_task,
               [&](int64_t task, int) { f(task * per_task, std::min(per_task, p.rows - task * per_task)); });
}

bool streams(const RowNormParams& p) {
  return p.dtype == DType::float32 && p.rows * p.size * int64_t(sizeof(float)) >= kStreamBytes;
}

template <class T>
void forward(const RowNormParams& p) {
  using A = Accumulator<T>;
  const RowNormKernels k = loops<T>();
  A *means = static_cast<A*>(p.stats), *invstds = means + p.rows;
  for_each_run(p, [&](int64_t r, int64_t rows) {
    k.forward(static_cast<T*>(p.y) + r * p.size, static_cast<const T*>(p.x) + r * p.size, p.weight, p.bias,
              rows, p.size, p.center, p.eps, means + r, invstds + r, streams(p));
  });
}

template <class T>
void backward_input(const RowNormParams& p) {
  using A = Accumulator<T>;
  const RowNormKernels k = loops<T>();
  const A *means = static_cast<const A*>(p.stats), *invstds = means + p.rows;
  for_each_run(p, [&](int64_t r, int64_t rows) {
    k.backward(static_cast<T*>(p.dx) + r * p.size, static_cast<const T*>(p.x) + r * p.size,
               static_cast<const T*>(p.dy) + r * p.size, p.weight, rows, p.size, p.center, means + r,
               invstds + r, streams(p));
  });
}

template <class T>
void backward_affine(const RowNormParams& p) {
  using A = Accumulator<T>;
  const RowNormKernels k = loops<T>();
  const A *means = static_cast<const A*>(p.stats), *invstds = means + p.rows;
  const int64_t chunks = p.chunks(), per_chunk = (p.rows + chunks - 1) / chunks;
  parallel_for(chunks, [&](int64_t chunk, int) {
    double *db = p.partial + chunk * 2 * p.size, *dw = db + p.size;
    std::fill(db, db + 2 * p.size, 0.0);
    const int64_t r = chunk * per_chunk, rows = std::min(per_chunk, p.rows - r);
    if (rows > 0)
      k.affine(db, dw, static_cast<const T*>(p.x) + r * p.size, static_cast<const T*>(p.dy) + r * p.size,
               rows, p.size, means + r, invstds + r);
  });
  T *dweight = static_cast<T*>(p.dweight), *dbias = static_cast<T*>(p.dbias);
  parallel_for((p.size + 1023) / 1024, [&](int64_t task, int) {
    for (int64_t i = task * 1024; i < std::min(task * 1024 + 1024, p.size); ++i) {
      double db = 0, dw = 0;
      for (int64_t chunk = 0; chunk < chunks; ++chunk) {
        db += p.partial[chunk * 2 * p.size + i];
        dw += p.partial[chunk * 2 * p.size + p.size + i];
      }
      if (dbias) dbias[i] = T(A(db));
      if (dweight) dweight[i] = T(A(dw));
    }
  });
}

}  // namespace

void row_norm_forward(const RowNormParams& p) {
  dispatch_float(p.dtype, "row_norm", [&](auto type) { forward<typename decltype(type)::type>(p); });
}
void row_norm_backward(const RowNormParams& p) {
  dispatch_float(p.dtype, "row_norm", [&](auto type) {
    using T = typename decltype(type)::type;
    if (p.dx) backward_input<T>(p);
    if (p.dweight || p.dbias) backward_affine<T>(p);
  });
}

}  // namespace fastcnn::cpu
