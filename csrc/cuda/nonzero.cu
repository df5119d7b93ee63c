// Positions of the elements that are not zero, in row-major order: how many in each chunk, where the first of each goes
// (one block adds them up), then every chunk writes its own. The host reads the total in between.
#include "cuda/dispatch.cuh"
#include "cuda/indexing.h"
#include "cuda/launch.cuh"
#include "cuda/reduce.cuh"
#include "cuda/scan.cuh"
#include "cuda/walk.cuh"

namespace fastcnn::cuda {
namespace {

constexpr int kThreads = 256;
constexpr unsigned kChunk = NonzeroParams::kChunk;

struct Elements {
  DType dtype;
  unsigned count;
  Walk<1> walk;
  const void* x;

  template <class T>
  FC_METHOD bool is_set(int64_t at) const {
    return widen(load(static_cast<const T*>(x) + at)) != Wide<T>(0);
  }
  FC_METHOD bool chosen(unsigned i) const {
    if (i >= count) return false;
    int64_t at[1];
    walk.offsets(i, at);
    switch (dtype) {
      case DType::uint8: return is_set<uint8_t>(at[0]);
      case DType::int32: return is_set<int32_t>(at[0]);
      case DType::int64: return is_set<int64_t>(at[0]);
      case DType::float32: return is_set<float>(at[0]);
      case DType::float64: return is_set<double>(at[0]);
      case DType::float16: return is_set<__half>(at[0]);
      case DType::bfloat16: return is_set<__nv_bfloat16>(at[0]);
      default: return is_set<bool>(at[0]);
    }
  }
};

FC_KERNEL nonzero_count_kernel(Elements e, int64_t* counts) {
  int found = 0;
  for (unsigned i = threadIdx.x; i < kChunk; i += kThreads) found += e.chosen(blockIdx.x * kChunk + i);
  found = block_reduce<Sum, kThreads>(found);
  if (threadIdx.x == 0) store(counts + blockIdx.x, static_cast<int64_t>(found));
}

FC_KERNEL nonzero_write_kernel(Elements e, const int64_t* starts, int64_t* indices) {
  int64_t next = load(starts + blockIdx.x);
  for (unsigned first = 0; first < kChunk; first += kThreads) {
    const unsigned i = blockIdx.x * kChunk + first + threadIdx.x;
    const bool chosen = e.chosen(i);
    int total;
    const int before = block_exclusive_sum<kThreads>(chosen ? 1 : 0, total);
    if (chosen) {
      int64_t* row = indices + (next + before) * e.walk.ndim;
      unsigned rest = i;
      FC_UNROLL
      for (int axis = 0; axis < kMaxDims; ++axis) {  // innermost first
        if (axis == e.walk.ndim) break;
        store(row + e.walk.ndim - 1 - axis, static_cast<int64_t>(e.walk.extent[axis].split(rest)));
      }
    }
    next += total;
  }
}

}  // namespace

void nonzero(const NonzeroParams& p, void* stream) {
  FC_CHECK(p.numel <= kMaxIndices, "nonzero: got ", p.numel, " elements, expected at most ", kMaxIndices,
           " on CUDA");
  const auto s = static_cast<cudaStream_t>(stream);
  const int64_t* const strides[] = {p.strides};
  const Elements e{p.dtype, static_cast<unsigned>(p.numel), make_walk(p.ndim, p.shape, strides), p.x};
  const Grid grid{dim3(static_cast<unsigned>(p.chunks())), dim3(kThreads), s};
  if (p.indices) return launch("nonzero", nonzero_write_kernel, grid, e, p.counts, p.indices);
  launch("nonzero", nonzero_count_kernel, grid, e, p.counts);
  launch("nonzero", exclusive_sums_kernel<kThreads, int64_t>, {dim3(1), dim3(kThreads), s}, p.counts,
         p.chunks());
}

}  // namespace fastcnn::cuda
