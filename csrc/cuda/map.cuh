// One kernel for all pointwise work: y[i] = f(in[i]...), over any strides.
//
// Two shapes of it. `flat`: every operand is one dense run (or one repeated element), and a thread moves 16 bytes of
// the widest operand at a time. `strided`: a thread per element finds its places by multiplications (walk.cuh).
#pragma once

#include <algorithm>
#include <utility>

#include "common/elementwise.h"
#include "cuda/dispatch.cuh"
#include "cuda/launch.cuh"
#include "cuda/vec.cuh"
#include "cuda/walk.cuh"

namespace fastcnn::cuda {

constexpr int kMapThreads = 256;

/// A dense run, or one element that stands for all.
template <class T>
struct Run {
  const T* data;
  bool repeated;

  template <int kCount>
  FC_METHOD Vec<T, kCount> at(int64_t first) const {
    if (!repeated) return load(reinterpret_cast<const Vec<T, kCount>*>(data + first));
    Vec<T, kCount> v;
    const T one = load(data);
    FC_UNROLL
    for (int i = 0; i < kCount; ++i) v.at[i] = one;
    return v;
  }
  FC_METHOD T one(int64_t i) const { return load(data + (repeated ? 0 : i)); }
};

template <int kCount, class F, class Y, class... In>
FC_KERNEL map_flat_kernel(F f, int64_t count, Y* y, Run<In>... in) {
  const int64_t first = (static_cast<int64_t>(blockIdx.x) * kMapThreads + threadIdx.x) * kCount;
  const auto all = [&](const Vec<In, kCount>&... v) {
    Vec<Y, kCount> out;
    FC_UNROLL
    for (int i = 0; i < kCount; ++i) out.at[i] = f(v.at[i]...);
    store(reinterpret_cast<Vec<Y, kCount>*>(y + first), out);
  };
  if (first + kCount <= count) {
    all(in.template at<kCount>(first)...);
  } else {
    for (int64_t i = first; i < count; ++i) store(y + i, Y(f(in.one(i)...)));
  }
}

template <class F, class Y, class... In, size_t... I>
FC_DEVICE void map_one(const F& f, const int64_t* at, std::index_sequence<I...>, Y* y, const In*... in) {
  store(y + at[0], Y(f(load(in + at[I + 1])...)));
}

template <class F, class Y, class... In>
FC_KERNEL map_strided_kernel(F f, unsigned count, Walk<1 + sizeof...(In)> walk, Y* y, const In*... in) {
  const unsigned i = blockIdx.x * kMapThreads + threadIdx.x;
  if (i >= count) return;
  int64_t at[1 + sizeof...(In)];
  walk.offsets(i, at);
  map_one(f, at, std::make_index_sequence<sizeof...(In)>(), y, in...);
}

namespace map_detail {

template <class T>
Run<T> run_of(const Loop& loop, int k) {
  return {static_cast<const T*>(loop.data[k]), loop.strides[k][0] == 0};
}
template <class T>
bool aligned_for(const Loop& loop, int k, int count) {
  return loop.strides[k][0] == 0 || is_aligned(loop.data[k], sizeof(T) * static_cast<size_t>(count));
}

template <class F, class Y, class... In, size_t... I>
void flat(const char* name, const F& f, const Loop& loop, cudaStream_t stream, std::index_sequence<I...>) {
  constexpr int kCount = static_cast<int>(16 / std::max({sizeof(Y), sizeof(In)...}));
  Y* y = static_cast<Y*>(loop.data[0]);
  const auto start = [&](auto count_of) {
    constexpr int kEach = decltype(count_of)::value;
    const int64_t blocks = ceil_div<int64_t>(loop.numel, int64_t{kMapThreads} * kEach);
    launch(name, map_flat_kernel<kEach, F, Y, In...>,
           {dim3(static_cast<unsigned>(blocks)), dim3(kMapThreads), stream}, f, loop.numel, y,
           run_of<In>(loop, static_cast<int>(I) + 1)...);
  };
  const bool aligned =
      aligned_for<Y>(loop, 0, kCount) && (aligned_for<In>(loop, static_cast<int>(I) + 1, kCount) && ...);
  if (aligned) {
    start(std::integral_constant<int, kCount>());
  } else {
    start(std::integral_constant<int, 1>());
  }
}

/// A nest of more than kMaxIndices positions goes in pieces of its outermost axis.
template <class F, class Y, class... In, size_t... I>
void strided(const char* name, const F& f, Loop loop, cudaStream_t stream,
             std::index_sequence<I...> sequence) {
  if (loop.numel > kMaxIndices) {
    int axis = 0;
    while (loop.shape[axis] == 1) ++axis;
    const int64_t whole = loop.shape[axis], half = whole / 2;
    for (const int64_t from : {int64_t{0}, half}) {
      Loop piece = loop;
      piece.shape[axis] = from ? whole - half : half;
      piece.numel = loop.numel / whole * piece.shape[axis];
      const int64_t shift[] = {from * loop.strides[0][axis], from * loop.strides[I + 1][axis]...};
      piece.data[0] = static_cast<Y*>(loop.data[0]) + shift[0];
      ((piece.data[I + 1] = static_cast<In*>(loop.data[I + 1]) + shift[I + 1]), ...);
      strided<F, Y, In...>(name, f, piece, stream, sequence);
    }
    return;
  }
  const int64_t* const strides[] = {loop.strides[0], loop.strides[I + 1]...};
  const auto count = static_cast<unsigned>(loop.numel);
  launch(name, map_strided_kernel<F, Y, In...>,
         {dim3(ceil_div<unsigned>(count, kMapThreads)), dim3(kMapThreads), stream}, f, count,
         make_walk(loop.ndim, loop.shape, strides), static_cast<Y*>(loop.data[0]),
         static_cast<const In*>(loop.data[I + 1])...);
}

}  // namespace map_detail

/// y[i] = f(in[i]...) over the loop, whose operands are y and then the inputs, of types Y and In.
template <class Y, class... In, class F>
void map(const char* name, const F& f, const Loop& loop, cudaStream_t stream) {
  bool flat = loop.ndim == 1 && loop.strides[0][0] == 1;
  for (size_t k = 1; k <= sizeof...(In); ++k)
    flat = flat && (loop.strides[k][0] == 1 || loop.strides[k][0] == 0);
  if (flat) return map_detail::flat<F, Y, In...>(name, f, loop, stream, std::index_sequence_for<In...>());
  map_detail::strided<F, Y, In...>(name, f, loop, stream, std::index_sequence_for<In...>());
}

}  // namespace fastcnn::cuda
