// A write may hit one element several times, so it is cut into tasks by the elements behind a position, never by
// the positions: every task walks all of them in order, and the result does not depend on the threads.
#include "cpu/indexing.h"

#include <algorithm>
#include <cstring>

#include "cpu/thread_pool.h"

namespace fastcnn::cpu {

namespace {

constexpr int64_t kTaskElems = 16384;

int64_t div_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

int64_t index_at(const void* data, DType dtype, int64_t offset) {
  return dtype == DType::int64 ? static_cast<const int64_t*>(data)[offset]
                               : int64_t(static_cast<const int32_t*>(data)[offset]);
}

// Integers wrap round, bools are or-ed.
template <class T>
void add_to(T& target, T value) {
  if constexpr (std::is_same_v<T, bool>)
    target = target || value;
  else if constexpr (std::is_integral_v<T>)
    target = T(std::make_unsigned_t<T>(target) + std::make_unsigned_t<T>(value));
  else
    target = T(Accumulator<T>(target) + Accumulator<T>(value));
}

// Moving values does not look at them: types of one size share their loops.
template <class F>
void dispatch_size(DType t, F&& f) {
  switch (size_of(t)) {
    case 1: return f(Type<uint8_t>{});
    case 2: return f(Type<uint16_t>{});
    case 4: return f(Type<uint32_t>{});
    default: return f(Type<uint64_t>{});
  }
}

// Where in x each position is; all indices are checked before anything is written.
void find_offsets(const IndexParams& p) {
  auto* offsets = static_cast<int64_t*>(p.workspace);
  const int64_t positions = p.positions();
  parallel_for(div_up(positions, kTaskElems), [&](int64_t task, int) {
    const int64_t end = std::min((task + 1) * kTaskElems, positions);
    for (int64_t i = task * kTaskElems; i < end; ++i) {
      int64_t offset = 0;
      for (int k = 0; k < p.indexed; ++k) {
        int64_t rest = i, at = 0;
        for (int d = p.positions_ndim - 1; d >= 0; --d) {
          at += rest % p.positions_shape[d] * p.index_stride[k][d];
          rest /= p.positions_shape[d];
        }
        const int64_t index = index_at(p.index[k], p.index_dtype[k], at), extent = p.extent[k];
        if (index < -extent || index >= extent)
          fail<IndexError>(p.op, ": index ", index, " is out of range for axis ", p.axis[k], " with ", extent,
                           " elements, expected ", -extent, " to ", extent - 1);
        offset += (index < 0 ? index + extent : index) * p.stride[k];
      }
      offsets[i] = offset;
    }
  });
}

struct Walk {  // inner nest: runs of its last axis
  int64_t runs, length, x_step, values_step;
  IndexNest nest;
  explicit Walk(const IndexNest& inner) : runs(1), length(1), x_step(1), values_step(1), nest(inner) {
    if (nest.ndim == 0) return;
    const IndexAxis last = nest.axis[--nest.ndim];
    length = last.extent;
    x_step = last.x;
    values_step = last.values;
    runs = nest.count();
  }
};

template <class T, class F>
void run_values(T* x, T* v, int64_t n, int64_t x_step, int64_t v_step, F&& each) {
  if (x_step == 1 && v_step == 1)
    for (int64_t j = 0; j < n; ++j) each(x[j], v[j]);
  else
    for (int64_t j = 0; j < n; ++j) each(x[j * x_step], v[j * v_step]);
}

int64_t values_offset(const IndexParams& p, int64_t position) {
  int64_t at = 0;
  for (int d = p.positions_ndim - 1; d >= 0; --d) {
    at += position % p.positions_shape[d] * p.values_stride[d];
    position /= p.positions_shape[d];
  }
  return at;
}

template <class T>
void read(const IndexParams& p) {
  T *x = static_cast<T*>(p.x), *values = static_cast<T*>(p.values);
  const auto* offsets = static_cast<const int64_t*>(p.workspace);
  const Walk w(p.inner);
  const int64_t positions = p.positions(), rows = p.outer.count() * positions;
  const int64_t per_task = std::max<int64_t>(kTaskElems / std::max<int64_t>(w.runs * w.length, 1), 1);
  parallel_for(div_up(rows, per_task), [&](int64_t task, int) {
    const int64_t end = std::min((task + 1) * per_task, rows);
    for (int64_t row = task * per_task; row < end; ++row) {
      int64_t xo, vo;
      p.outer.offsets(row / positions, xo, vo);
      xo += offsets[row % positions];
      vo += values_offset(p, row % positions);
      for (int64_t r = 0; r < w.runs; ++r) {
        int64_t xr, vr;
        w.nest.offsets(r, xr, vr);
        if (w.x_step == 1 && w.values_step == 1)
          std::memcpy(values + vo + vr, x + xo + xr, size_t(w.length) * sizeof(T));
        else
          run_values(x + xo + xr, values + vo + vr, w.length, w.x_step, w.values_step,
                     [](T& from, T& to) { to = from; });
      }
    }
  });
}

template <class T, class F>
void write(const IndexParams& p, F&& each) {
  T *x = static_cast<T*>(p.x), *values = static_cast<T*>(p.values);
  const auto* offsets = static_cast<const int64_t*>(p.workspace);
  const Walk w(p.inner);
  const int64_t positions = p.positions();
  // Pieces of the elements behind a position: long enough to be worth a walk over all positions.
  const int64_t piece =
      std::max<int64_t>(std::min<int64_t>(w.length, kTaskElems / std::max<int64_t>(positions, 1)), 64);
  const int64_t pieces = std::max<int64_t>(div_up(w.length, piece), 1), outer = p.outer.count();
  parallel_for(outer * w.runs * pieces, [&](int64_t task, int) {
    const int64_t first = task % pieces * piece, n = std::min(piece, w.length - first);
    int64_t xo, vo, xr, vr;
    w.nest.offsets(task / pieces % w.runs, xr, vr);
    p.outer.offsets(task / pieces / w.runs, xo, vo);
    T *to = x + xo + xr + first * w.x_step, *from = values + vo + vr + first * w.values_step;
    for (int64_t i = 0; i < positions; ++i)
      run_values(to + offsets[i], from + values_offset(p, i), n, w.x_step, w.values_step, each);
  });
}

// ---- along one axis -----------------------------------------------------------------------------------------

template <class F>
void for_each_line(const GatherParams& p, F&& f) {
  const int64_t per_task = std::max<int64_t>(kTaskElems / std::max<int64_t>(p.count, 1), 1);
  parallel_for(div_up(p.lines, per_task), [&](int64_t task, int) {
    const int64_t end = std::min((task + 1) * per_task, p.lines);
    for (int64_t line = task * per_task; line < end; ++line)
      f(p.x_lines.offset(line), p.value_lines.offset(line), p.index_lines.offset(line));
  });
}

void check_range(const GatherParams& p) {
  for_each_line(p, [&](int64_t, int64_t, int64_t at) {
    for (int64_t i = 0; i < p.count; ++i) {
      const int64_t index = index_at(p.index, p.index_dtype, at + i * p.index_lines.step);
      if (index < 0 || index >= p.extent)
        fail<IndexError>(p.op, ": index ", index, " is out of range for dim ", p.axis, " with ", p.extent,
                         " elements, expected 0 to ", p.extent - 1);
    }
  });
}

template <class T, class F>
void along_axis(const GatherParams& p, F&& each) {
  T *x = static_cast<T*>(p.x), *values = static_cast<T*>(p.values);
  for_each_line(p, [&](int64_t xo, int64_t vo, int64_t at) {
    for (int64_t i = 0; i < p.count; ++i) {
      const int64_t index = index_at(p.index, p.index_dtype, at + i * p.index_lines.step);
      each(x[xo + index * p.x_lines.step], values[vo + i * p.value_lines.step]);
    }
  });
}

}  // namespace

void index(const IndexParams& p) {
  find_offsets(p);
  if (p.mode == IndexMode::add) {
    dispatch_all(p.dtype, [&](auto type) {
      using T = typename decltype(type)::type;
      write<T>(p, [](T& x, T& v) { add_to(x, v); });
    });
    return;
  }
  dispatch_size(p.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    if (p.mode == IndexMode::get) return read<T>(p);
    write<T>(p, [](T& x, T& v) { x = v; });
  });
}

void gather(const GatherParams& p) {
  check_range(p);
  if (p.mode == IndexMode::add) {
    dispatch_all(p.dtype, [&](auto type) {
      using T = typename decltype(type)::type;
      along_axis<T>(p, [](T& x, T& v) { add_to(x, v); });
    });
    return;
  }
  dispatch_size(p.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    if (p.mode == IndexMode::get)
      along_axis<T>(p, [](T& x, T& v) { v = x; });
    else
      along_axis<T>(p, [](T& x, T& v) { x = v; });
  });
}

void nonzero(const NonzeroParams& p) {
  dispatch_all(p.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    const T* x = static_cast<const T*>(p.x);
    parallel_for(p.chunks(), [&](int64_t chunk, int) {
      const int64_t first = chunk * NonzeroParams::kChunk;
      const int64_t end = std::min(first + NonzeroParams::kChunk, p.numel);
      int64_t found = p.indices ? p.counts[chunk] : 0;
      int64_t at[kMaxDims] = {}, rest = first, offset = 0;
      for (int d = p.ndim - 1; d >= 0; --d) {
        at[d] = rest % p.shape[d];
        rest /= p.shape[d];
        offset += at[d] * p.strides[d];
      }
      for (int64_t i = first; i < end; ++i) {
        const T value = x[offset];
        if (Accumulator<T>(value) != Accumulator<T>(0)) {
          if (p.indices) std::copy_n(at, p.ndim, p.indices + found * p.ndim);
          ++found;
        }
        for (int d = p.ndim - 1; d >= 0; --d) {
          offset += p.strides[d];
          if (++at[d] < p.shape[d]) break;
          offset -= at[d] * p.strides[d];
          at[d] = 0;
        }
      }
      if (!p.indices) p.counts[chunk] = found;
    });
  });
  if (p.indices) return;
  int64_t found = 0;
  for (int64_t chunk = 0; chunk <= p.chunks(); ++chunk) {
    const int64_t here = chunk < p.chunks() ? p.counts[chunk] : 0;
    p.counts[chunk] = found;
    found += here;
  }
}

}  // namespace fastcnn::cpu
