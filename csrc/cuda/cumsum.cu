// Running sums along the lines of a tensor, of floats in float64, of integers modulo 2^64. Three kernels: sums of
// chunks, sums of the chunks in front of each, sums within the chunks; a line of one chunk takes the last alone. Chunks
// have one length, so a result's bits depend on neither the card nor the number of lines beside it.
#include <type_traits>

#include "cuda/dispatch.cuh"
#include "cuda/launch.cuh"
#include "cuda/reduce.cuh"
#include "cuda/scan.cuh"
#include "cuda/scan.h"
#include "cuda/walk.cuh"

namespace fastcnn::cuda {
namespace {

constexpr int kThreads = 256;

struct Lines {
  DType dtype;
  bool reverse;
  int64_t count, x_step, y_step;
  unsigned chunks;
  Walk<2> walk;  // x, y
  const void* x;
  void* y;

  FC_METHOD int64_t place(int64_t i) const { return reverse ? count - 1 - i : i; }
};

template <class T, class A>
FC_DEVICE A value_of(const void* x, int64_t at) {
  return static_cast<A>(widen(load(static_cast<const T*>(x) + at)));
}
/// Element `at` in the type that sums have.
template <class A>
FC_DEVICE A load_wide(DType dtype, const void* x, int64_t at) {
  if constexpr (std::is_same_v<A, double>) {
    switch (dtype) {
      case DType::float32: return value_of<float, A>(x, at);
      case DType::float16: return value_of<__half, A>(x, at);
      case DType::bfloat16: return value_of<__nv_bfloat16, A>(x, at);
      default: return value_of<double, A>(x, at);
    }
  } else {
    switch (dtype) {
      case DType::uint8: return value_of<uint8_t, A>(x, at);
      case DType::int32: return value_of<int32_t, A>(x, at);
      case DType::int64: return value_of<int64_t, A>(x, at);
      default: return value_of<bool, A>(x, at);
    }
  }
}
template <class T, class A>
FC_DEVICE void store_as(void* y, int64_t at, A sum) {
  store(static_cast<T*>(y) + at, Narrow<T>::of(static_cast<Wide<T>>(sum)));
}
template <class A>
FC_DEVICE void store_sum(DType dtype, void* y, int64_t at, A sum) {
  if constexpr (std::is_same_v<A, double>) {
    switch (dtype) {
      case DType::float32: return store_as<float>(y, at, sum);
      case DType::float16: return store_as<__half>(y, at, sum);
      case DType::bfloat16: return store_as<__nv_bfloat16>(y, at, sum);
      default: return store_as<double>(y, at, sum);
    }
  } else {
    store_as<int64_t>(y, at, sum);
  }
}

template <class A>
FC_KERNEL cumsum_thread_kernel(Lines l, unsigned lines) {
  const unsigned line = blockIdx.x * kThreads + threadIdx.x;
  if (line >= lines) return;
  int64_t at[2];
  l.walk.offsets(line, at);
  A sum = 0;
  for (int64_t i = 0; i < l.count; ++i) {
    const int64_t place = l.place(i);
    sum += load_wide<A>(l.dtype, l.x, at[0] + place * l.x_step);
    store_sum(l.dtype, l.y, at[1] + place * l.y_step, sum);
  }
}

/// A block for each chunk of each line: what it adds up to.
template <class A>
FC_KERNEL cumsum_chunk_kernel(Lines l, A* sums) {
  const unsigned line = blockIdx.x / l.chunks, chunk = blockIdx.x % l.chunks;
  int64_t at[2];
  l.walk.offsets(line, at);
  const int64_t first = chunk * CumsumParams::kChunk;
  A sum = 0;
  for (int64_t i = threadIdx.x; i < CumsumParams::kChunk && first + i < l.count; i += kThreads)
    sum += load_wide<A>(l.dtype, l.x, at[0] + l.place(first + i) * l.x_step);
  sum = block_reduce<Sum, kThreads>(sum);
  if (threadIdx.x == 0) store(sums + static_cast<int64_t>(line) * (l.chunks + 1) + chunk, sum);
}

/// A block for each chunk; `front` holds what is in front of each, or is nullptr where a line is one chunk.
template <class A>
FC_KERNEL cumsum_kernel(Lines l, const A* front) {
  const unsigned line = blockIdx.x / l.chunks, chunk = blockIdx.x % l.chunks;
  int64_t at[2];
  l.walk.offsets(line, at);
  const int64_t first = chunk * CumsumParams::kChunk;
  A carry = front ? load(front + static_cast<int64_t>(line) * (l.chunks + 1) + chunk) : A(0);
  for (int64_t from = first; from < first + CumsumParams::kChunk && from < l.count; from += kThreads) {
    const int64_t i = from + threadIdx.x, place = l.place(i);
    const A value = i < l.count ? load_wide<A>(l.dtype, l.x, at[0] + place * l.x_step) : A(0);
    A total;
    const A before = block_exclusive_sum<kThreads>(value, total);
    if (i < l.count) store_sum(l.dtype, l.y, at[1] + place * l.y_step, carry + before + value);
    carry += total;
  }
}

template <class A>
void run(const CumsumParams& p, cudaStream_t stream) {
  const int64_t* const strides[] = {p.x.strides, p.y.strides};
  const Lines l{p.dtype,
                p.reverse,
                p.count,
                p.x.step,
                p.y.step,
                static_cast<unsigned>(p.chunks()),
                make_walk(p.x.ndim, p.x.shape, strides),
                p.x_data,
                p.y_data};
  const int64_t blocks = p.lines * p.chunks();
  FC_CHECK(blocks <= kMaxIndices, "cumsum: ", p.lines, " lines of ", p.count, " elements, expected at most ",
           kMaxIndices, " pieces of ", CumsumParams::kChunk, " on CUDA");
  const auto lines = static_cast<unsigned>(p.lines);
  const Grid grid{dim3(static_cast<unsigned>(blocks)), dim3(kThreads), stream};
  if (p.by_thread()) {
    return launch("cumsum", cumsum_thread_kernel<A>,
                  {dim3(ceil_div<unsigned>(lines, kThreads)), dim3(kThreads), stream}, l, lines);
  }
  A* front = p.chunks() > 1 ? static_cast<A*>(p.workspace) : nullptr;
  if (front) {
    launch("cumsum", cumsum_chunk_kernel<A>, grid, l, front);
    launch("cumsum", exclusive_sums_kernel<kThreads, A>, {dim3(lines), dim3(kThreads), stream}, front,
           p.chunks());
  }
  launch("cumsum", cumsum_kernel<A>, grid, l, front);
}

}  // namespace

void cumsum(const CumsumParams& p, void* stream) {
  const auto s = static_cast<cudaStream_t>(stream);
  is_float(p.dtype) ? run<double>(p, s) : run<uint64_t>(p, s);
}

}  // namespace fastcnn::cuda
