// What pooling kernels share: from a thread to its element, from an input cell to the windows over it, and launches over all
// samples.
#pragma once

#include "cuda/dispatch.cuh"
#include "cuda/launch.cuh"
#include "cuda/pool.h"
#include "cuda/vec.cuh"
#include "cuda/walk.cuh"

namespace fastcnn::cuda {
namespace {

constexpr int kThreads = 256;

/// (n, d, h, w, channel) of an element, from its flat number.
struct Place {
  int64_t n, i[3], c;
};
struct Grid5 {
  FastDivide channel, extent[3];
  FC_METHOD Place place(unsigned rest) const {
    Place p;
    p.c = channel.split(rest);
    for (int axis = 2; axis >= 0; --axis) p.i[axis] = extent[axis].split(rest);
    p.n = rest;
    return p;
  }
};

struct Pool {
  PoolWindows p;
  Grid5 grid;
  bool relu, include_padding;
  double divisor;

  FC_METHOD int64_t input_offset(const Place& at, int64_t d, int64_t h, int64_t w) const {
    return (((at.n * p.in[0] + d) * p.in[1] + h) * p.in[2] + w) * p.C + at.c;
  }
  FC_METHOD int64_t output_offset(const Place& at, int64_t d, int64_t h, int64_t w) const {
    return (((at.n * p.out[0] + d) * p.out[1] + h) * p.out[2] + w) * p.C + at.c;
  }
  /// Cells that the average of the window divides by.
  FC_METHOD double cells(const PoolSpan& d, const PoolSpan& h, const PoolSpan& w) const {
    if (divisor != 0) return divisor;
    if (include_padding) return static_cast<double>(d.length) * static_cast<double>(h.length * w.length);
    return static_cast<double>(d.taps) * static_cast<double>(h.taps * w.taps);
  }
};

/// Calls f(d, h, w of the window, code of the position in it) for the windows that cover an input cell.
template <class F>
FC_DEVICE void for_each_reader(const Pool& pool, const Place& at, F&& f) {
  const PoolWindows& p = pool.p;
  int64_t first[3], last[3];
  for (int axis = 0; axis < 3; ++axis) p.readers(axis, at.i[axis], first[axis], last[axis]);
  for (int64_t d = first[0]; d <= last[0]; ++d) {
    const int64_t t = p.tap_of(0, at.i[0], d);
    if (t < 0) continue;
    for (int64_t h = first[1]; h <= last[1]; ++h) {
      const int64_t r = p.tap_of(1, at.i[1], h);
      if (r < 0) continue;
      for (int64_t w = first[2]; w <= last[2]; ++w) {
        const int64_t s = p.tap_of(2, at.i[2], w);
        if (s >= 0) f(d, h, w, (t * p.window[1] + r) * p.window[2] + s);
      }
    }
  }
}

/// Some samples: as many as one launch takes.
struct Slice {
  Pool pool;
  unsigned count;  ///< elements that threads stand for
  Grid grid;
  int64_t input, output;  ///< the slice's first element there

  template <class T>
  T* x(const void* p) const {
    return p ? const_cast<T*>(static_cast<const T*>(p)) + input : nullptr;
  }
  template <class T>
  T* y(const void* p) const {
    return p ? const_cast<T*>(static_cast<const T*>(p)) + output : nullptr;
  }
};

/// Calls f(Slice) until all elements of the output (or the input) had their thread.
template <class F>
void for_slices(const PoolParams& a, bool over_input, void* stream, F&& f) {
  const PoolProblem& q = *a.problem;
  const int64_t* extent = over_input ? q.in : q.out;
  Slice s{{q, {}, a.relu, a.include_padding, a.divisor}, 0, {}, 0, 0};
  s.pool.grid.channel = FastDivide(q.C);
  for (int i = 0; i < 3; ++i) s.pool.grid.extent[i] = FastDivide(extent[i]);
  const int64_t input = q.C * q.in[0] * q.in[1] * q.in[2], output = q.C * q.out[0] * q.out[1] * q.out[2];
  const int64_t sample = over_input ? input : output;
  FC_CHECK(sample <= kMaxIndices, "pool: a sample of ", sample, " elements, expected at most ", kMaxIndices,
           " on CUDA");
  const int64_t at_once = kMaxIndices / sample;
  for (int64_t n = 0; n < q.N; n += at_once) {
    s.count = static_cast<unsigned>(std::min(at_once, q.N - n) * sample);
    s.grid = {dim3(ceil_div<unsigned>(s.count, kThreads)), dim3(kThreads), static_cast<cudaStream_t>(stream)};
    s.input = n * input;
    s.output = n * output;
    f(s);
  }
}

}  // namespace
}  // namespace fastcnn::cuda
