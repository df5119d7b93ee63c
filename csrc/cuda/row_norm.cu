// Layer norm and RMS norm: a block for each row. The row comes from memory once and then from cache: mean, squares about
// it, result. Gradients of weight and bias are sums over rows: chunks of rows first, then the chunks in order.
#include "cuda/dispatch.cuh"
#include "cuda/launch.cuh"
#include "cuda/reduce.cuh"
#include "cuda/row_norm.h"
#include "cuda/vec.cuh"

namespace fastcnn::cuda {
namespace {

constexpr int kThreads = 256;

/// The block's sum, in every thread.
FC_DEVICE double sum_for_all(double value) {
  FC_SHARED(double, total, [1]);
  value = block_reduce<Sum, kThreads>(value);
  if (threadIdx.x == 0) store(&total[0], value);
  __syncthreads();
  value = load(&total[0]);
  __syncthreads();  // readers, before the next call writes
  return value;
}

template <class T>
struct RowNorm {
  using A = Wide<T>;
  RowNormParams p;

  FC_METHOD A at(const void* data, int64_t i) const { return widen(load(static_cast<const T*>(data) + i)); }
  FC_METHOD A weight(int64_t i) const { return p.weight ? at(p.weight, i) : A(1); }
  FC_METHOD A bias(int64_t i) const { return p.bias ? at(p.bias, i) : A(0); }
  FC_METHOD A mean(int64_t row) const { return load(static_cast<const A*>(p.stats) + row); }
  FC_METHOD A invstd(int64_t row) const { return load(static_cast<const A*>(p.stats) + p.rows + row); }
  FC_METHOD void put(void* data, int64_t i, A v) const { store(static_cast<T*>(data) + i, Narrow<T>::of(v)); }
};

template <class T>
FC_KERNEL row_norm_forward_kernel(RowNorm<T> f) {
  using A = Wide<T>;
  const RowNormParams& p = f.p;
  const int64_t row = blockIdx.x, first = row * p.size;
  const double n = static_cast<double>(p.size);
  double mean = 0, square = 0;
  if (p.center) {
    for (int64_t i = threadIdx.x; i < p.size; i += kThreads)
      mean += static_cast<double>(f.at(p.x, first + i));
    mean = sum_for_all(mean) / n;
  }
  const A center = static_cast<A>(mean);
  for (int64_t i = threadIdx.x; i < p.size; i += kThreads) {
    const A d = f.at(p.x, first + i) - center;
    square += static_cast<double>(d * d);
  }
  square = sum_for_all(square) / n;
  if (p.center) {  // about the rounded mean: take off the square of what rounding moved it by; NaN stays
    const double off = mean - static_cast<double>(center);
    square = square - off * off < 0 ? 0 : square - off * off;
  }
  const A invstd = static_cast<A>(1 / sqrt(square + p.eps));
  if (threadIdx.x == 0) {
    store(static_cast<A*>(p.stats) + row, center);
    store(static_cast<A*>(p.stats) + p.rows + row, invstd);
  }
  for (int64_t i = threadIdx.x; i < p.size; i += kThreads)
    f.put(p.y, first + i, (f.at(p.x, first + i) - center) * invstd * f.weight(i) + f.bias(i));
}

/// dx = invstd (g - mean of g - xhat * mean of g xhat), g = dy * weight.
template <class T>
FC_KERNEL row_norm_backward_kernel(RowNorm<T> f) {
  using A = Wide<T>;
  const RowNormParams& p = f.p;
  const int64_t row = blockIdx.x, first = row * p.size;
  const double n = static_cast<double>(p.size);
  const A mean = f.mean(row), invstd = f.invstd(row);
  double sum = 0, product = 0;
  for (int64_t i = threadIdx.x; i < p.size; i += kThreads) {
    const A g = f.at(p.dy, first + i) * f.weight(i);
    sum += static_cast<double>(g);
    product += static_cast<double>(g * ((f.at(p.x, first + i) - mean) * invstd));
  }
  const A s1 = p.center ? static_cast<A>(sum_for_all(sum) / n) : A(0);
  const A s2 = static_cast<A>(sum_for_all(product) / n);
  for (int64_t i = threadIdx.x; i < p.size; i += kThreads) {
    const A g = f.at(p.dy, first + i) * f.weight(i);
    f.put(p.dx, first + i, invstd * (g - s1 - (f.at(p.x, first + i) - mean) * invstd * s2));
  }
}

/// A thread per column and chunk of rows: neighbours read neighbouring columns.
template <class T>
FC_KERNEL row_norm_affine_kernel(RowNorm<T> f, int64_t rows_of_chunk) {
  using A = Wide<T>;
  const RowNormParams& p = f.p;
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x, chunk = blockIdx.y;
  if (i >= p.size) return;
  const int64_t begin = chunk * rows_of_chunk;
  const int64_t end = begin + rows_of_chunk < p.rows ? begin + rows_of_chunk : p.rows;
  double db = 0, dw = 0;
  for (int64_t row = begin; row < end; ++row) {
    const A dy = f.at(p.dy, row * p.size + i);
    db += static_cast<double>(dy);
    dw += static_cast<double>(dy * ((f.at(p.x, row * p.size + i) - f.mean(row)) * f.invstd(row)));
  }
  store(p.partial + chunk * 2 * p.size + i, db);
  store(p.partial + chunk * 2 * p.size + p.size + i, dw);
}

template <class T>
FC_KERNEL row_norm_affine_finish_kernel(RowNorm<T> f, int64_t chunks) {
  using A = Wide<T>;
  const RowNormParams& p = f.p;
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= p.size) return;
  double db = 0, dw = 0;
  for (int64_t chunk = 0; chunk < chunks; ++chunk) {
    db += load(p.partial + chunk * 2 * p.size + i);
    dw += load(p.partial + chunk * 2 * p.size + p.size + i);
  }
  if (p.dbias) f.put(p.dbias, i, static_cast<A>(db));
  if (p.dweight) f.put(p.dweight, i, static_cast<A>(dw));
}

void check_rows(const RowNormParams& p) {
  FC_CHECK(p.rows <= kHighest<int32_t>, "row_norm: ", p.rows, " rows, expected at most ", kHighest<int32_t>,
           " on CUDA");
}

}  // namespace

void row_norm_forward(const RowNormParams& p, void* stream) {
  check_rows(p);
  dispatch_device_float(p.dtype, "row_norm", [&](auto type) {
    using T = typename decltype(type)::type;
    launch("row_norm", row_norm_forward_kernel<T>,
           {dim3(static_cast<unsigned>(p.rows)), dim3(kThreads), static_cast<cudaStream_t>(stream)},
           RowNorm<T>{p});
  });
}

void row_norm_backward(const RowNormParams& p, void* stream_) {
  check_rows(p);
  const auto stream = static_cast<cudaStream_t>(stream_);
  dispatch_device_float(p.dtype, "row_norm", [&](auto type) {
    using T = typename decltype(type)::type;
    const RowNorm<T> f{p};
    if (p.dx)
      launch("row_norm_backward", row_norm_backward_kernel<T>,
             {dim3(static_cast<unsigned>(p.rows)), dim3(kThreads), stream}, f);
    if (!p.dweight && !p.dbias) return;
    const auto columns = static_cast<unsigned>(ceil_div<int64_t>(p.size, kThreads));
    const auto chunks = static_cast<unsigned>(p.chunks());
    launch("row_norm_affine", row_norm_affine_kernel<T>, {dim3(columns, chunks), dim3(kThreads), stream}, f,
           ceil_div<int64_t>(p.rows, p.chunks()));
    launch("row_norm_affine", row_norm_affine_finish_kernel<T>, {dim3(columns), dim3(kThreads), stream}, f,
           p.chunks());
  });
}

}  // namespace fastcnn::cuda
