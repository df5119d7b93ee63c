// Batch, group and instance norm over a matrix of rows and channels (common/norm.h), in three steps each way:
//   1. `partial`: sums over a chunk of rows for each channel. Neighbouring threads are neighbouring channels; eight rows
//      of threads share a chunk, and their results are merged in order.
//   2. `finish`: a thread per channel (or group) merges the chunks, in float64 and in order.
//   3. `apply`: element by element.
// The chunks are those of the CPU, so both devices need the same workspace; nothing is added atomically.
#pragma once

#include "cuda/dispatch.cuh"
#include "cuda/launch.cuh"
#include "cuda/norm.h"
#include "cuda/vec.cuh"
#include "cuda/walk.cuh"

namespace fastcnn::cuda {
namespace {

constexpr int kLanes = 32, kRows = 8;     // of a block
constexpr int kAtOnce = 8;                // rows that a thread holds in registers
constexpr int kThreads = 128;             // of `finish`
constexpr int kRowsPerBlock = 8 * kRows;  // of `apply`

/// A value per channel; `missing` where there is none.
template <class T>
struct Channelwise {
  const T* data;
  int64_t stride;
  FC_METHOD Wide<T> get(int64_t c, Wide<T> missing) const {
    return data ? widen(load(data + c * stride)) : missing;
  }
};

struct Matrix {
  int64_t outer, rows, channels, groups, chunks, per_chunk;
  FastDivide per_group;
  FC_METHOD int64_t stat(int64_t o, int64_t c) const {
    return o * groups + per_group.quotient(static_cast<unsigned>(c));
  }
  /// Two rows of `channels` numbers for (outer index, chunk).
  FC_METHOD double* partial(double* p, int64_t o, int64_t chunk) const {
    return p + (o * chunks + chunk) * 2 * channels;
  }
};

/// f.begin(outer index, channel), then f(element) for the block's rows of that channel.
template <class F>
FC_KERNEL norm_apply_kernel(F f) {
  const Matrix& m = f.m;
  const int64_t c = int64_t{blockIdx.x} * kLanes + threadIdx.x, o = blockIdx.z;
  if (c >= m.channels) return;
  const int64_t begin = int64_t{blockIdx.y} * kRowsPerBlock, end = begin + kRowsPerBlock;
  f.begin(o, c);
  for (int64_t row = begin + threadIdx.y; row < end && row < m.rows; row += kRows)
    f((o * m.rows + row) * m.channels + c);
}

inline Matrix matrix_of(const NormProblem& p) {
  const int64_t chunks = p.chunks();
  FC_CHECK(p.outer <= 65535 && p.channels <= kMaxIndices, "norm: got ", p.outer, " samples of ", p.channels,
           " channels, expected at most 65535 and 2^30 on CUDA");
  return {p.outer,
          p.rows,
          p.channels,
          p.groups,
          chunks,
          ceil_div<int64_t>(p.rows, chunks),
          FastDivide(p.channels / p.groups)};
}
inline unsigned blocks_for(int64_t count, int64_t each) {
  return static_cast<unsigned>(ceil_div<int64_t>(count, each));
}

inline Grid over_chunks(const Matrix& m, cudaStream_t stream) {
  return {
      dim3(blocks_for(m.channels, kLanes), static_cast<unsigned>(m.chunks), static_cast<unsigned>(m.outer)),
      dim3(kLanes, kRows), stream};
}
inline Grid over_elements(const Matrix& m, cudaStream_t stream) {
  const int64_t down = ceil_div<int64_t>(m.rows, kRowsPerBlock);
  FC_CHECK(down <= 65535, "norm: got ", m.rows, " rows, expected at most ", 65535 * kRowsPerBlock,
           " on CUDA");
  return {dim3(blocks_for(m.channels, kLanes), static_cast<unsigned>(down), static_cast<unsigned>(m.outer)),
          dim3(kLanes, kRows), stream};
}

}  // namespace
}  // namespace fastcnn::cuda
