// Writes at positions that are data. Several positions may name one element: of a `put` the last one wins, an `add` adds
// all in the order of the positions. The positions are sorted by where they go; then one thread for each element goes
// through those that go there. No atomics, the same bits on every run. It costs n log n for n positions, and a thread
// as many steps as one element has positions, which is few where indices are batches of labels, pixels or rows.
#pragma once

#include <type_traits>

#include "common/indexing.h"
#include "cuda/sort.cuh"

namespace fastcnn::cuda {

constexpr int kIndexThreads = 256;

FC_DEVICE int64_t load_index(const void* data, bool wide, int64_t at) {
  return wide ? load(static_cast<const int64_t*>(data) + at) : load(static_cast<const int32_t*>(data) + at);
}

/// Where a position goes, as a key: the offset into x, moved so that all ones stay free for a position out of range.
constexpr uint64_t kNowhere = ~uint64_t{0}, kKeyBias = uint64_t{1} << 63;
FC_DEVICE uint64_t key_of_offset(int64_t offset) { return static_cast<uint64_t>(offset) ^ kKeyBias; }

/// The elements behind and in front of each position, and where the values of a position lie.
struct Spread {
  FastDivide inner, positions;
  Walk<2> outer_walk, inner_walk;  // x, values
  Walk<1> value_walk;

  /// From a thread's number: its slot among the positions, and offsets into x and values but for the position's.
  FC_METHOD unsigned place(unsigned index, int64_t (&at)[2]) const {
    unsigned rest = index;
    const unsigned i = inner.split(rest), slot = positions.split(rest);
    int64_t in[2];
    inner_walk.offsets(i, in);
    outer_walk.offsets(rest, at);
    at[0] += in[0];
    at[1] += in[1];
    return slot;
  }
  FC_METHOD int64_t value(unsigned position) const {
    int64_t at[1];
    value_walk.offsets(position, at);
    return at[0];
  }
};

template <class W>
FC_KERNEL index_put_kernel(Spread s, unsigned count, const WideEntry* entries, const W* values, W* x) {
  const unsigned index = blockIdx.x * kIndexThreads + threadIdx.x;
  if (index >= count) return;
  int64_t at[2];
  const unsigned slot = s.place(index, at);
  const WideEntry e = load(entries + slot);
  if (e.key == kNowhere) return;
  if (slot + 1 < s.positions.divisor && load(entries + slot + 1).key == e.key) return;  // not the last one
  store(x + at[0] + static_cast<int64_t>(e.key ^ kKeyBias), load(values + at[1] + s.value(e.position())));
}

/// a + b in T: integers wrap round, bools are or-ed.
template <class T>
FC_DEVICE T added(T a, T b) {
  if constexpr (std::is_same_v<T, bool>) {
    return a || b;
  } else if constexpr (std::is_integral_v<T>) {
    return static_cast<T>(static_cast<uint64_t>(a) + static_cast<uint64_t>(b));
  } else {
    return Narrow<T>::of(widen(a) + widen(b));
  }
}

template <class T>
FC_KERNEL index_add_kernel(Spread s, unsigned count, const WideEntry* entries, const T* values, T* x) {
  const unsigned index = blockIdx.x * kIndexThreads + threadIdx.x;
  if (index >= count) return;
  int64_t at[2];
  unsigned slot = s.place(index, at);
  const uint64_t key = load(entries + slot).key;
  if (key == kNowhere || (slot > 0 && load(entries + slot - 1).key == key)) return;  // not the first one
  T* to = x + at[0] + static_cast<int64_t>(key ^ kKeyBias);
  T sum = load(to);
  for (; slot < s.positions.divisor; ++slot) {
    const WideEntry e = load(entries + slot);
    if (e.key != key) break;
    sum = added(sum, load(values + at[1] + s.value(e.position())));
  }
  store(to, sum);
}

/// What both kernels are started with.
struct WriteArgs {
  const char* op;
  IndexMode mode;
  DType dtype;
  int bytes;  ///< of an element of `put`
  void *x, *values;
  Spread spread;
  int64_t count;  ///< of threads
  const WideEntry* entries;
};

inline Grid index_grid(const char* op, int64_t count, cudaStream_t stream) {
  FC_CHECK(count <= kMaxIndices, op, ": got ", count, " elements, expected at most ", kMaxIndices,
           " on CUDA");
  return {dim3(static_cast<unsigned>(ceil_div<int64_t>(count, kIndexThreads))), dim3(kIndexThreads), stream};
}

/// with_bytes, and of 16 bytes: two neighbours of 8.
template <class F>
void dispatch_bytes(int bytes, F&& f) {
  if (bytes == 16) return f(Vec<uint64_t, 2>{});
  with_bytes(static_cast<size_t>(bytes), f);
}

inline void index_write(const WriteArgs& a, cudaStream_t stream) {
  const Grid grid = index_grid(a.op, a.count, stream);
  const auto count = static_cast<unsigned>(a.count);
  if (a.mode == IndexMode::add) {
    dispatch_device(a.dtype, [&](auto type) {
      using T = typename decltype(type)::type;
      launch(a.op, index_add_kernel<T>, grid, a.spread, count, a.entries, static_cast<const T*>(a.values),
             static_cast<T*>(a.x));
    });
    return;
  }
  dispatch_bytes(a.bytes, [&](auto w) {
    using W = decltype(w);
    launch(a.op, index_put_kernel<W>, grid, a.spread, count, a.entries, static_cast<const W*>(a.values),
           static_cast<W*>(a.x));
  });
}

}  // namespace fastcnn::cuda
