// Pooling over channels-last memory: neighbouring threads are neighbouring channels, so every access of a warp is one
// run of memory. Forward: a thread per output element walks its window. Backward: a thread per input element gathers
// from the windows that cover it, so nothing is added atomically and sums have one order (that of the CPU).
//
// Max: NaN wins, and the last NaN of a window keeps the position; among equals the first (torch's rule). With `relu` the
// result is what pooling a ReLU's output gives; a window whose maximum the ReLU stops has position -1.
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

template <class T, class Code>
FC_KERNEL max_pool_forward_kernel(Pool pool, unsigned count, const T* x, T* y, Code* tap) {
  const unsigned index = blockIdx.x * kThreads + threadIdx.x;
  if (index >= count) return;
  const Place at = pool.grid.place(index);
  const PoolWindows& p = pool.p;
  const PoolSpan d = p.span(0, at.i[0]), h = p.span(1, at.i[1]), w = p.span(2, at.i[2]);
  using A = Wide<T>;
  A best = sizeof(T) == 1 ? A(0) : kLowest<A>, first = 0;
  const int64_t begin = (d.tap * p.window[1] + h.tap) * p.window[2] + w.tap;
  int64_t code = begin;
  for (int64_t t = 0; t < d.taps; ++t) {
    for (int64_t r = 0; r < h.taps; ++r) {
      const int64_t row = pool.input_offset(at, d.first + t * p.step[0], h.first + r * p.step[1], w.first);
      for (int64_t s = 0; s < w.taps; ++s) {
        const A v = widen(load(x + row + s * p.step[2] * p.C));
        if (t + r + s == 0) first = v;
        if (v > best || v != v) {
          best = v;
          code = begin + (t * p.window[1] + r) * p.window[2] + s;
        }
      }
    }
  }
  if (pool.relu && best <= A(0)) {
    code = -1;
    if (d.taps > 0 && h.taps > 0 && w.taps > 0) best = first < A(0) ? A(0) : first;
  }
  store(y + index, Narrow<T>::of(best));
  if (tap) store(tap + index, static_cast<Code>(code));
}

/// Calls f(flat number of the output element, code of the window position) for the windows that cover an input cell.
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

template <class T, class Code>
FC_KERNEL max_pool_backward_kernel(Pool pool, unsigned count, const T* dy, const Code* tap, T* dx) {
  const unsigned index = blockIdx.x * kThreads + threadIdx.x;
  if (index >= count) return;
  const Place at = pool.grid.place(index);
  Wide<T> sum = 0;
  for_each_reader(pool, at, [&](int64_t d, int64_t h, int64_t w, int64_t code) {
    const int64_t from = pool.output_offset(at, d, h, w);
    if (load(tap + from) == static_cast<Code>(code)) sum += widen(load(dy + from));
  });
  store(dx + index, Narrow<T>::of(sum));
}

template <class T>
FC_KERNEL avg_pool_forward_kernel(Pool pool, unsigned count, const T* x, T* y) {
  const unsigned index = blockIdx.x * kThreads + threadIdx.x;
  if (index >= count) return;
  const Place at = pool.grid.place(index);
  const PoolWindows& p = pool.p;
  const PoolSpan d = p.span(0, at.i[0]), h = p.span(1, at.i[1]), w = p.span(2, at.i[2]);
  using A = Wide<T>;
  A total = 0;
  for (int64_t t = 0; t < d.taps; ++t) {
    for (int64_t r = 0; r < h.taps; ++r) {
      A row = 0;  // rows are summed on their own first: rounding grows with the window's side, not its area
      const int64_t from = pool.input_offset(at, d.first + t * p.step[0], h.first + r * p.step[1], w.first);
      for (int64_t s = 0; s < w.taps; ++s) row += widen(load(x + from + s * p.step[2] * p.C));
      total += row;
    }
  }
  store(y + index, Narrow<T>::of(total / static_cast<A>(pool.cells(d, h, w))));
}

template <class T>
FC_KERNEL avg_pool_backward_kernel(Pool pool, unsigned count, const T* dy, T* dx) {
  const unsigned index = blockIdx.x * kThreads + threadIdx.x;
  if (index >= count) return;
  const Place at = pool.grid.place(index);
  const PoolWindows& p = pool.p;
  using A = Wide<T>;
  A sum = 0;
  for_each_reader(pool, at, [&](int64_t d, int64_t h, int64_t w, int64_t) {
    const double cells = pool.cells(p.span(0, d), p.span(1, h), p.span(2, w));
    sum += widen(load(dy + pool.output_offset(at, d, h, w))) * static_cast<A>(1 / cells);
  });
  store(dx + index, Narrow<T>::of(sum));
}

/// The input cell that won; false for a window in the padding and for one that a ReLU in front stopped.
FC_DEVICE bool winner(const Pool& pool, const Place& at, int64_t code, int64_t (&cell)[3]) {
  const PoolWindows& p = pool.p;
  bool open = code >= 0 && code < p.window[0] * p.window[1] * p.window[2];
  for (int axis = 2; axis >= 0; --axis) {
    const PoolSpan s = p.span(axis, at.i[axis]);
    open = open && s.taps > 0;
    cell[axis] = s.first + (code % p.window[axis] - s.tap) * p.step[axis];
    code /= p.window[axis];
  }
  return open;
}

template <class Code>
FC_KERNEL max_pool_indices_kernel(Pool pool, unsigned count, const Code* tap, int64_t* y) {
  const unsigned index = blockIdx.x * kThreads + threadIdx.x;
  if (index >= count) return;
  const Place at = pool.grid.place(index);
  int64_t cell[3];
  const bool open = winner(pool, at, load(tap + index), cell);
  store(y + index, open ? (cell[0] * pool.p.in[1] + cell[1]) * pool.p.in[2] + cell[2] : int64_t{0});
}

template <class T, class Code>
FC_KERNEL max_pool_gather_kernel(Pool pool, unsigned count, const T* x, const Code* tap, T* y) {
  const unsigned index = blockIdx.x * kThreads + threadIdx.x;
  if (index >= count) return;
  const Place at = pool.grid.place(index);
  int64_t cell[3];
  const bool open = winner(pool, at, load(tap + index), cell);
  store(y + index,
        open ? load(x + pool.input_offset(at, cell[0], cell[1], cell[2])) : Narrow<T>::of(Wide<T>(0)));
}

/// Starts f's kernel over all elements of the output (or the input) in as many launches as it takes.
template <class F>
void for_slices(const PoolParams& a, bool over_input, F&& f) {
  const PoolProblem& q = *a.problem;
  const int64_t* extent = over_input ? q.in : q.out;
  Pool pool{q, {}, a.relu, a.include_padding, a.divisor};
  pool.grid.channel = FastDivide(q.C);
  for (int i = 0; i < 3; ++i) pool.grid.extent[i] = FastDivide(extent[i]);
  const int64_t sample = q.C * extent[0] * extent[1] * extent[2],
                other = q.C * (over_input ? q.out[0] * q.out[1] * q.out[2] : q.in[0] * q.in[1] * q.in[2]);
  FC_CHECK(sample <= kMaxIndices, "pool: a sample of ", sample, " elements, expected at most ", kMaxIndices,
           " on CUDA");
  const int64_t at_once = kMaxIndices / sample;
  for (int64_t n = 0; n < q.N; n += at_once) {
    const int64_t count = std::min(at_once, q.N - n) * sample;
    const Grid grid{dim3(static_cast<unsigned>(ceil_div<int64_t>(count, kThreads))), dim3(kThreads)};
    f(pool, static_cast<unsigned>(count), grid, n * sample, n * other);
  }
}

template <class F>
void with_code(const PoolParams& a, F&& f) {
  a.tap_dtype == DType::uint8 ? f(uint8_t{}) : f(int32_t{});
}
template <class T>
T* at(const void* p, int64_t offset) {
  return p ? const_cast<T*>(static_cast<const T*>(p)) + offset : nullptr;
}
cudaStream_t of(void* stream) { return static_cast<cudaStream_t>(stream); }

}  // namespace

void max_pool_forward(const PoolParams& a, void* stream) {
  dispatch_device(a.problem->dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    with_code(a, [&](auto code) {
      using Code = decltype(code);
      for_slices(a, false, [&](const Pool& pool, unsigned count, Grid grid, int64_t y, int64_t x) {
        grid.stream = of(stream);
        launch("max_pool", max_pool_forward_kernel<T, Code>, grid, pool, count, at<T>(a.x, x), at<T>(a.y, y),
               at<Code>(a.tap, y));
      });
    });
  });
}

void max_pool_backward(const PoolParams& a, void* stream) {
  dispatch_device_float(a.problem->dtype, "max_pool", [&](auto type) {
    using T = typename decltype(type)::type;
    with_code(a, [&](auto code) {
      using Code = decltype(code);
      for_slices(a, true, [&](const Pool& pool, unsigned count, Grid grid, int64_t x, int64_t y) {
        grid.stream = of(stream);
        launch("max_pool", max_pool_backward_kernel<T, Code>, grid, pool, count, at<T>(a.dy, y),
               at<Code>(a.tap, y), at<T>(a.dx, x));
      });
    });
  });
}

void max_pool_indices(const PoolParams& a, void* stream) {
  with_code(a, [&](auto code) {
    using Code = decltype(code);
    for_slices(a, false, [&](const Pool& pool, unsigned count, Grid grid, int64_t y, int64_t) {
      grid.stream = of(stream);
      launch("max_pool", max_pool_indices_kernel<Code>, grid, pool, count, at<Code>(a.tap, y),
             at<int64_t>(a.y, y));
    });
  });
}

void max_pool_gather(const PoolParams& a, void* stream) {
  dispatch_device_float(a.problem->dtype, "max_pool", [&](auto type) {
    using T = typename decltype(type)::type;
    with_code(a, [&](auto code) {
      using Code = decltype(code);
      for_slices(a, false, [&](const Pool& pool, unsigned count, Grid grid, int64_t y, int64_t x) {
        grid.stream = of(stream);
        launch("max_pool", max_pool_gather_kernel<T, Code>, grid, pool, count, at<T>(a.x, x),
               at<Code>(a.tap, y), at<T>(a.y, y));
      });
    });
  });
}

void avg_pool_forward(const PoolParams& a, void* stream) {
  dispatch_device_float(a.problem->dtype, "avg_pool", [&](auto type) {
    using T = typename decltype(type)::type;
    for_slices(a, false, [&](const Pool& pool, unsigned count, Grid grid, int64_t y, int64_t x) {
      grid.stream = of(stream);
      launch("avg_pool", avg_pool_forward_kernel<T>, grid, pool, count, at<T>(a.x, x), at<T>(a.y, y));
    });
  });
}

void avg_pool_backward(const PoolParams& a, void* stream) {
  dispatch_device_float(a.problem->dtype, "avg_pool", [&](auto type) {
    using T = typename decltype(type)::type;
    for_slices(a, true, [&](const Pool& pool, unsigned count, Grid grid, int64_t x, int64_t y) {
      grid.stream = of(stream);
      launch("avg_pool", avg_pool_backward_kernel<T>, grid, pool, count, at<T>(a.dy, y), at<T>(a.dx, x));
    });
  });
}

}  // namespace fastcnn::cuda
