// Pooling over channels-last memory: neighbouring threads are neighbouring channels, so every access of a warp is one
// run of memory. Forward: a thread per output element walks its window. Backward: a thread per input element gathers
// from the windows that cover it, so nothing is added atomically and sums have one order (that of the CPU).
//
// Max: NaN wins, and the last NaN of a window keeps the position; among equals the first (torch's rule). With `relu` the
// result is what pooling a ReLU's output gives; a window whose maximum the ReLU stops has position -1.
#include "cuda/pool.cuh"

namespace fastcnn::cuda {
namespace {

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

template <class F>
void with_code(const PoolParams& a, F&& f) {
  a.tap_dtype == DType::uint8 ? f(uint8_t{}) : f(int32_t{});
}
/// f(Type<T>{}, Code{}, Slice) for float dtypes.
template <class F>
void for_float_slices(const PoolParams& a, const char* op, bool over_input, void* stream, F&& f) {
  dispatch_device_float(a.problem->dtype, op, [&](auto type) {
    with_code(
        a, [&](auto code) { for_slices(a, over_input, stream, [&](const Slice& s) { f(type, code, s); }); });
  });
}

}  // namespace

void max_pool_forward(const PoolParams& a, void* stream) {
  dispatch_device(a.problem->dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    with_code(a, [&](auto code) {
      using Code = decltype(code);
      for_slices(a, false, stream, [&](const Slice& s) {
        launch("max_pool", max_pool_forward_kernel<T, Code>, s.grid, s.pool, s.count, s.x<T>(a.x),
               s.y<T>(a.y), s.y<Code>(a.tap));
      });
    });
  });
}

void max_pool_backward(const PoolParams& a, void* stream) {
  for_float_slices(a, "max_pool", true, stream, [&](auto type, auto code, const Slice& s) {
    using T = typename decltype(type)::type;
    using Code = decltype(code);
    launch("max_pool", max_pool_backward_kernel<T, Code>, s.grid, s.pool, s.count, s.y<T>(a.dy),
           s.y<Code>(a.tap), s.x<T>(a.dx));
  });
}

void max_pool_indices(const PoolParams& a, void* stream) {
  with_code(a, [&](auto code) {
    using Code = decltype(code);
    for_slices(a, false, stream, [&](const Slice& s) {
      launch("max_pool", max_pool_indices_kernel<Code>, s.grid, s.pool, s.count, s.y<Code>(a.tap),
             s.y<int64_t>(a.y));
    });
  });
}

void max_pool_gather(const PoolParams& a, void* stream) {
  for_float_slices(a, "max_pool", false, stream, [&](auto type, auto code, const Slice& s) {
    using T = typename decltype(type)::type;
    using Code = decltype(code);
    launch("max_pool", max_pool_gather_kernel<T, Code>, s.grid, s.pool, s.count, s.x<T>(a.x),
           s.y<Code>(a.tap), s.y<T>(a.y));
  });
}

void avg_pool_forward(const PoolParams& a, void* stream) {
  for_float_slices(a, "avg_pool", false, stream, [&](auto type, auto, const Slice& s) {
    using T = typename decltype(type)::type;
    launch("avg_pool", avg_pool_forward_kernel<T>, s.grid, s.pool, s.count, s.x<T>(a.x), s.y<T>(a.y));
  });
}

void avg_pool_backward(const PoolParams& a, void* stream) {
  for_float_slices(a, "avg_pool", true, stream, [&](auto type, auto, const Slice& s) {
    using T = typename decltype(type)::type;
    launch("avg_pool", avg_pool_backward_kernel<T>, s.grid, s.pool, s.count, s.y<T>(a.dy), s.x<T>(a.dx));
  });
}

}  // namespace fastcnn::cuda
