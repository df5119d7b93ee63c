// One kernel for all pointwise work: y[i] = f(in[i]...), over any strides.
//
// Two shapes of it. `flat`: every operand is one dense run (or one element for all) at a multiple of 16 bytes, and a
// thread moves 16 bytes of the widest operand at a time. `strided`: a thread per element finds its places by
// multiplications (walk.cuh). f stands once in each: some are switches of forty formulas, minutes of nvcc's time.
#pragma once

#include <algorithm>
#include <cstring>
#include <type_traits>
#include <utility>

#include "common/elementwise.h"
#include "cuda/dispatch.cuh"
#include "cuda/launch.cuh"
#include "cuda/vec.cuh"
#include "cuda/walk.cuh"

namespace fastcnn::cuda {

constexpr int kMapThreads = 256;

/// How many elements a thread of `flat` may take at most: F::kMost, for function objects of much code.
template <class F, class = void>
constexpr int kMostAtOnce = 16;
template <class F>
constexpr int kMostAtOnce<F, std::void_t<decltype(F::kMost)>> = F::kMost;

/// An operand: memory, or, where data is null, a number.
template <class T>
struct Run {
  const T* data;
  bool repeated;  ///< `flat`: one element stands for all
  T number;

  FC_METHOD T one(int64_t i) const { return data ? load(data + i) : number; }
  /// Elements first ... first + left - 1, of which there are at most kCount; what follows them is of no meaning.
  template <int kCount>
  FC_METHOD Vec<T, kCount> at(int64_t first, int left) const {
    if (data && !repeated && left == kCount)
      return load(reinterpret_cast<const Vec<T, kCount>*>(data + first));
    Vec<T, kCount> v;
    FC_UNROLL
    for (int i = 0; i < kCount; ++i) v.at[i] = one(repeated ? 0 : first + (i < left ? i : 0));
    return v;
  }
};

template <int kCount, class F, class Y, class... In>
FC_KERNEL map_flat_kernel(F f, int64_t count, Y* y, Run<In>... in) {
  const int64_t first = (static_cast<int64_t>(blockIdx.x) * kMapThreads + threadIdx.x) * kCount;
  if (first >= count) return;
  const int left = first + kCount <= count ? kCount : static_cast<int>(count - first);
  const auto results = [&](const Vec<In, kCount>&... v) {
    Vec<Y, kCount> out;
    FC_UNROLL
    for (int i = 0; i < kCount; ++i) out.at[i] = f(v.at[i]...);
    return out;
  };
  const Vec<Y, kCount> out = results(in.template at<kCount>(first, left)...);
  if (left == kCount) return store(reinterpret_cast<Vec<Y, kCount>*>(y + first), out);
  FC_UNROLL
  for (int i = 0; i < kCount; ++i)
    if (i < left) store(y + first + i, out.at[i]);
}

template <class F, class Y, class... In, size_t... I>
FC_DEVICE void map_one(const F& f, const int64_t* at, std::index_sequence<I...>, Y* y, const Run<In>&... in) {
  store(y + at[0], Y(f(in.one(at[I + 1])...)));
}

template <class F, class Y, class... In>
FC_KERNEL map_strided_kernel(F f, unsigned count, Walk<1 + sizeof...(In)> walk, Y* y, Run<In>... in) {
  const unsigned i = blockIdx.x * kMapThreads + threadIdx.x;
  if (i >= count) return;
  int64_t at[1 + sizeof...(In)];
  walk.offsets(i, at);
  map_one(f, at, std::make_index_sequence<sizeof...(In)>(), y, in...);
}

namespace map_detail {

template <class T>
Run<T> run_of(const Loop& loop, int k, const void* number) {
  Run<T> run{static_cast<const T*>(loop.data[k]), loop.strides[k][0] == 0, T()};
  if (!run.data && number) std::memcpy(&run.number, number, sizeof(T));
  return run;
}
template <class T>
bool is_flat(const Loop& loop, int k, int count) {
  return loop.strides[k][0] == 0 ||
         (loop.strides[k][0] == 1 && is_aligned(loop.data[k], sizeof(T) * static_cast<size_t>(count)));
}

/// A nest of more than kMaxIndices positions goes in pieces of its outermost axis.
template <class F, class Y, class... In, size_t... I>
void strided(const char* name, const F& f, const Loop& loop, cudaStream_t stream, const void* number,
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
      strided<F, Y, In...>(name, f, piece, stream, number, sequence);
    }
    return;
  }
  const int64_t* const strides[] = {loop.strides[0], loop.strides[I + 1]...};
  const auto count = static_cast<unsigned>(loop.numel);
  launch(name, map_strided_kernel<F, Y, In...>,
         {dim3(ceil_div<unsigned>(count, kMapThreads)), dim3(kMapThreads), stream}, f, count,
         make_walk(loop.ndim, loop.shape, strides), static_cast<Y*>(loop.data[0]),
         run_of<In>(loop, static_cast<int>(I) + 1, number)...);
}

template <class F, class Y, class... In, size_t... I>
void map(const char* name, const F& f, const Loop& loop, cudaStream_t stream, const void* number,
         std::index_sequence<I...> sequence) {
  constexpr int kCount =
      std::min(static_cast<int>(16 / std::max({sizeof(Y), sizeof(In)...})), kMostAtOnce<F>);
  const bool flat = loop.ndim == 1 && loop.strides[0][0] == 1 && is_flat<Y>(loop, 0, kCount) &&
                    (is_flat<In>(loop, static_cast<int>(I) + 1, kCount) && ...);
  if (!flat) return strided<F, Y, In...>(name, f, loop, stream, number, sequence);
  const int64_t blocks = ceil_div<int64_t>(loop.numel, int64_t{kMapThreads} * kCount);
  launch(name, map_flat_kernel<kCount, F, Y, In...>,
         {dim3(static_cast<unsigned>(blocks)), dim3(kMapThreads), stream}, f, loop.numel,
         static_cast<Y*>(loop.data[0]), run_of<In>(loop, static_cast<int>(I) + 1, number)...);
}

}  // namespace map_detail

/// y[i] = f(in[i]...) over the loop, whose operands are y and then the inputs, of types Y and In. An input without memory
/// (data null, strides 0) is the value at `number`, of its type.
template <class Y, class... In, class F>
void map(const char* name, const F& f, const Loop& loop, cudaStream_t stream, const void* number = nullptr) {
  map_detail::map<F, Y, In...>(name, f, loop, stream, number, std::index_sequence_for<In...>());
}

}  // namespace fastcnn::cuda
