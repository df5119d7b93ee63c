// Max unpooling. Several positions may name one cell: the last one wins. So that this holds in any order of threads,
// each position first leaves its number at its cell by an atomic maximum of integers; then a thread for each element
// of the result reads who won. Values are moved, never looked at: a kernel for each element size.
#include <algorithm>

#include "cuda/dispatch.cuh"
#include "cuda/launch.cuh"
#include "cuda/pool.h"
#include "cuda/vec.cuh"
#include "cuda/walk.cuh"

namespace fastcnn::cuda {
namespace {

constexpr int kThreads = 256;

struct Planes {
  FastDivide channel, positions, cells;
  int64_t C;
  /// The element of the planes that a thread's position names; -1 for one out of range.
  FC_METHOD int64_t element(unsigned index, int64_t cell, unsigned& position) const {
    unsigned rest = index;
    const int64_t c = channel.split(rest);
    position = positions.split(rest);
    if (cell < 0 || cell >= cells.divisor) return -1;
    return (static_cast<int64_t>(rest) * cells.divisor + cell) * C + c;
  }
};

FC_KERNEL unpool_clear_kernel(unsigned count, int32_t* last) {
  const unsigned i = blockIdx.x * kThreads + threadIdx.x;
  if (i < count) store(last + i, int32_t{0});
}

FC_KERNEL unpool_mark_kernel(Planes planes, unsigned count, const int64_t* index, int32_t* last) {
  const unsigned i = blockIdx.x * kThreads + threadIdx.x;
  if (i >= count) return;
  unsigned position;
  const int64_t to = planes.element(i, load(index + i), position);
  if (to >= 0) atomicMax(last + to, static_cast<int32_t>(position) + 1);
}

template <class W>
FC_KERNEL unpool_forward_kernel(Planes planes, unsigned count, const int32_t* last, const W* x, W* y) {
  const unsigned i = blockIdx.x * kThreads + threadIdx.x;
  if (i >= count) return;
  unsigned rest = i;
  const int64_t c = planes.channel.split(rest), n = planes.cells.quotient(rest);
  const int64_t won = load(last + i) - 1;
  store(y + i, won < 0 ? W(0) : load(x + (n * planes.positions.divisor + won) * planes.C + c));
}

template <class W>
FC_KERNEL unpool_backward_kernel(Planes planes, unsigned count, const int64_t* index, const int32_t* last,
                                 const W* dy, W* dx) {
  const unsigned i = blockIdx.x * kThreads + threadIdx.x;
  if (i >= count) return;
  unsigned position;
  const int64_t from = planes.element(i, load(index + i), position);
  const bool won = from >= 0 && load(last + from) == static_cast<int32_t>(position) + 1;
  store(dx + i, won ? load(dy + from) : W(0));
}

template <class W>
void run(const UnpoolParams& a, cudaStream_t stream) {
  const Planes planes{FastDivide(a.C), FastDivide(a.positions), FastDivide(a.cells), a.C};
  const int64_t of_index = a.C * a.positions, of_plane = a.C * a.cells;
  const int64_t sample = std::max(of_index, of_plane);
  FC_CHECK(sample <= kMaxIndices, a.op, ": a sample of ", sample, " elements, expected at most ", kMaxIndices,
           " on CUDA");
  const int64_t at_once = kMaxIndices / std::max<int64_t>(sample, 1);
  for (int64_t n = 0; n < a.N; n += at_once) {
    const int64_t samples = std::min(at_once, a.N - n);
    const auto grid = [&](int64_t count) {
      return Grid{dim3(static_cast<unsigned>(ceil_div<int64_t>(count, kThreads))), dim3(kThreads), stream};
    };
    const auto outputs = static_cast<unsigned>(samples * of_plane),
               inputs = static_cast<unsigned>(samples * of_index);
    int32_t* last = a.last + n * of_plane;
    const int64_t* index = a.index + n * of_index;
    launch(a.op, unpool_clear_kernel, grid(outputs), outputs, last);
    launch(a.op, unpool_mark_kernel, grid(inputs), planes, inputs, index, last);
    const W* in = static_cast<const W*>(a.in) + n * (a.backward ? of_plane : of_index);
    W* out = static_cast<W*>(a.out) + n * (a.backward ? of_index : of_plane);
    if (a.backward)
      launch(a.op, unpool_backward_kernel<W>, grid(inputs), planes, inputs, index, last, in, out);
    else
      launch(a.op, unpool_forward_kernel<W>, grid(outputs), planes, outputs, last, in, out);
  }
}

}  // namespace

void max_unpool(const UnpoolParams& a, void* stream) {
  const auto s = static_cast<cudaStream_t>(stream);
  switch (size_of(a.dtype)) {
    case 2: return run<uint16_t>(a, s);
    case 4: return run<uint32_t>(a, s);
    default: return run<uint64_t>(a, s);
  }
}

}  // namespace fastcnn::cuda
