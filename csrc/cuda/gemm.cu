// C = A B + bias for a batch of matrices of any strides and dtypes: the classic tiled product.
//
// A block computes a tile of 64 x 64 results. It walks along the depth in steps of 16: all threads fetch a 64 x 16 tile
// of A and a 16 x 64 tile of B into shared memory, wait, and multiply; each of 256 threads keeps 4 x 4 sums in registers
// and so uses every number it reads from shared memory four times. Each sum is one chain over the depth, whatever the
// tile, so the result does not depend on where in C it stands.
#include "cuda/dispatch.cuh"
#include "cuda/gemm.h"
#include "cuda/launch.cuh"
#include "cuda/vec.cuh"
#include "cuda/walk.cuh"

namespace fastcnn::cuda {
namespace {

constexpr int kTile = 64, kDepth = 16, kThreads = 256, kEach = 4;  // kEach x kEach sums a thread

template <class T>
struct Gemm {
  int64_t m, n, k;
  int64_t a_row, a_col, b_row, b_col;
  const T *a, *b, *bias;
  T* c;
  int64_t bias_stride;
  Walk<2> batch;  // offsets of A and B
};

/// Fetches a tile whose inner axis in shared memory is the one of 64; `across` is the stride along it, `deep` along the
/// depth. Neighbouring threads follow the axis that is dense in memory.
template <class T, class A>
FC_DEVICE void fetch(A (&tile)[kDepth][kTile + 1], const T* from, int64_t across, int64_t deep,
                     int64_t across_left, int64_t deep_left) {
  const bool along_depth = deep == 1 && across != 1;
  FC_UNROLL
  for (int i = 0; i < kTile * kDepth / kThreads; ++i) {
    const int flat = static_cast<int>(threadIdx.x) + i * kThreads;
    const int x = along_depth ? flat / kDepth : flat % kTile, d = along_depth ? flat % kDepth : flat / kTile;
    const bool inside = x < across_left && d < deep_left;
    store(&tile[d][x], inside ? static_cast<A>(widen(load(from + x * across + d * deep))) : A(0));
  }
}

template <class T>
FC_KERNEL gemm_kernel(Gemm<T> g) {
  using A = Wide<T>;
  FC_SHARED(A, a_tile, [kDepth][kTile + 1]);
  FC_SHARED(A, b_tile, [kDepth][kTile + 1]);
  const int64_t row0 = int64_t{blockIdx.y} * kTile, column0 = int64_t{blockIdx.x} * kTile;
  int64_t start[2];
  g.batch.offsets(blockIdx.z, start);
  const T *a = g.a + start[0] + row0 * g.a_row, *b = g.b + start[1] + column0 * g.b_col;
  const int tx = static_cast<int>(threadIdx.x) % (kTile / kEach),
            ty = static_cast<int>(threadIdx.x) / (kTile / kEach);

  A sums[kEach][kEach] = {};
  for (int64_t p = 0; p < g.k; p += kDepth) {
    fetch(a_tile, a + p * g.a_col, g.a_row, g.a_col, g.m - row0, g.k - p);
    fetch(b_tile, b + p * g.b_row, g.b_col, g.b_row, g.n - column0, g.k - p);
    __syncthreads();
    FC_UNROLL
    for (int d = 0; d < kDepth; ++d) {
      A x[kEach], y[kEach];
      FC_UNROLL
      for (int i = 0; i < kEach; ++i) x[i] = a_tile[d][ty + i * (kTile / kEach)];
      FC_UNROLL
      for (int j = 0; j < kEach; ++j) y[j] = b_tile[d][tx + j * (kTile / kEach)];
      FC_UNROLL
      for (int i = 0; i < kEach; ++i) {
        FC_UNROLL
        for (int j = 0; j < kEach; ++j) sums[i][j] += x[i] * y[j];
      }
    }
    __syncthreads();
  }

  T* c = g.c + int64_t{blockIdx.z} * g.m * g.n;
  FC_UNROLL
  for (int i = 0; i < kEach; ++i) {
    FC_UNROLL
    for (int j = 0; j < kEach; ++j) {
      const int64_t row = row0 + ty + i * (kTile / kEach), column = column0 + tx + j * (kTile / kEach);
      if (row >= g.m || column >= g.n) continue;
      const A bias = g.bias ? static_cast<A>(widen(load(g.bias + column * g.bias_stride))) : A(0);
      store(c + row * g.n + column, Narrow<T>::of(g.bias ? sums[i][j] + bias : sums[i][j]));
    }
  }
}

template <class T>
void run(const GemmParams& q, cudaStream_t stream) {
  Gemm<T> g{};
  g.m = q.m;
  g.n = q.n;
  g.k = q.k;
  g.a_row = q.a.row;
  g.a_col = q.a.col;
  g.b_row = q.b.row;
  g.b_col = q.b.col;
  g.a = static_cast<const T*>(q.a.data);
  g.b = static_cast<const T*>(q.b.data);
  g.bias = static_cast<const T*>(q.bias);
  g.bias_stride = q.bias_stride;
  g.c = static_cast<T*>(q.c);
  const int64_t* const strides[] = {q.a.batch, q.b.batch};
  g.batch = make_walk(q.batch_ndim, q.batch_shape, strides);
  const int64_t down = ceil_div<int64_t>(q.m, kTile), across = ceil_div<int64_t>(q.n, kTile);
  FC_CHECK(down <= 65535 && across < INT32_MAX && q.batch() <= 65535, "gemm: too large for one launch, got ",
           q.batch(), " products of ", q.m, " x ", q.n, ", expected at most 65535 of 4194240 rows");
  launch("gemm", gemm_kernel<T>,
         {dim3(static_cast<unsigned>(across), static_cast<unsigned>(down), static_cast<unsigned>(q.batch())),
          dim3(kThreads), stream},
         g);
}

}  // namespace

void gemm(const GemmParams& params, void* stream) {
  dispatch_device(params.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    if constexpr (!std::is_same_v<T, bool>) run<T>(params, static_cast<cudaStream_t>(stream));
  });
}

}  // namespace fastcnn::cuda
