// x[i, :, j] and gather along an axis, read and written. Reads move words of 1 to 16 bytes, whatever they mean.
#include "cuda/index_write.cuh"
#include "cuda/indexing.h"

namespace fastcnn::cuda {
namespace {

/// Where in x each position of an IndexParams is.
struct Offsets {
  int indexed, ndim;
  FastDivide shape[kMaxDims];                // of the positions, innermost first
  int64_t index_stride[kMaxDims][kMaxDims];  // [indexed][axis]
  const void* index[kMaxDims];
  bool wide[kMaxDims];
  int64_t extent[kMaxDims], stride[kMaxDims];

  FC_METHOD uint64_t key(unsigned position) const {
    int64_t offset = 0;
    bool inside = true;
    FC_UNROLL
    for (int k = 0; k < kMaxDims; ++k) {
      if (k == indexed) break;
      unsigned rest = position;
      int64_t at = 0;
      FC_UNROLL
      for (int d = 0; d < kMaxDims; ++d) {
        if (d == ndim) break;
        at += shape[d].split(rest) * index_stride[k][d];
      }
      int64_t i = load_index(index[k], wide[k], at);
      if (i < 0) i += extent[k];
      inside = inside && i >= 0 && i < extent[k];
      offset += i * stride[k];
    }
    return inside ? key_of_offset(offset) : kNowhere;
  }
  FC_METHOD WideEntry operator()(unsigned, unsigned position) const {
    return WideEntry::of(key(position), position);
  }
};

FC_KERNEL index_offsets_kernel(Offsets o, unsigned count, uint64_t* keys) {
  const unsigned i = blockIdx.x * kIndexThreads + threadIdx.x;
  if (i < count) store(keys + i, o.key(i));
}

/// NaN for floats, 0 for whole numbers.
template <class W>
FC_DEVICE W missing(bool nan) {
  W w;
  memset(&w, nan ? 0xff : 0, sizeof(W));
  return w;
}

template <class W>
FC_KERNEL index_get_kernel(Spread s, unsigned count, const uint64_t* keys, bool nan, const W* x, W* values) {
  const unsigned index = blockIdx.x * kIndexThreads + threadIdx.x;
  if (index >= count) return;
  int64_t at[2];
  const unsigned position = s.place(index, at);
  const uint64_t key = load(keys + position);
  const W w = key == kNowhere ? missing<W>(nan) : load(x + at[0] + static_cast<int64_t>(key ^ kKeyBias));
  store(values + at[1] + s.value(position), w);
}

/// Lines of a GatherParams: threads in the index's row-major order.
struct Along {
  Walk<3> walk;  // x (0 along the axis), values, index
  int64_t x_step, extent;
  const void* index;
  bool wide;

  FC_METHOD uint64_t key(unsigned position, int64_t& value_at) const {
    int64_t at[3];
    walk.offsets(position, at);
    value_at = at[1];
    const int64_t i = load_index(index, wide, at[2]);
    return i >= 0 && i < extent ? key_of_offset(at[0] + i * x_step) : kNowhere;
  }
  FC_METHOD WideEntry operator()(unsigned, unsigned position) const {
    int64_t unused;
    return WideEntry::of(key(position, unused), position);
  }
};

template <class W>
FC_KERNEL gather_kernel(Along a, unsigned count, bool nan, const W* x, W* values) {
  const unsigned position = blockIdx.x * kIndexThreads + threadIdx.x;
  if (position >= count) return;
  int64_t to;
  const uint64_t key = a.key(position, to);
  store(values + to, key == kNowhere ? missing<W>(nan) : load(x + static_cast<int64_t>(key ^ kKeyBias)));
}

Walk<2> walk_of(const IndexNest& nest) {
  int64_t shape[kMaxDims], x[kMaxDims], values[kMaxDims];
  for (int i = 0; i < nest.ndim; ++i) {
    shape[i] = nest.axis[i].extent;
    x[i] = nest.axis[i].x;
    values[i] = nest.axis[i].values;
  }
  const int64_t* const strides[] = {x, values};
  return make_walk(nest.ndim, shape, strides);
}

/// Runs of elements side by side become runs of elements twice as large, up to 16 bytes, while all strides, extents and
/// addresses allow. Returns the bytes of an element.
int widen_elements(IndexParams& p) {
  int bytes = static_cast<int>(size_of(p.dtype));
  IndexNest& inner = p.inner;
  if (p.mode == IndexMode::add || inner.ndim == 0) return bytes;
  IndexAxis& run = inner.axis[inner.ndim - 1];
  if (run.x != 1 || run.values != 1) return bytes;
  while (bytes < 16) {
    int64_t odd = run.extent;
    const auto look = [&](int64_t stride) { odd |= stride; };
    for (int i = 0; i + 1 < inner.ndim; ++i) look(inner.axis[i].x), look(inner.axis[i].values);
    for (int i = 0; i < p.outer.ndim; ++i) look(p.outer.axis[i].x), look(p.outer.axis[i].values);
    for (int i = 0; i < p.positions_ndim; ++i) look(p.values_stride[i]);
    for (int i = 0; i < p.indexed; ++i) look(p.stride[i]);
    const auto size = static_cast<size_t>(2 * bytes);
    if (odd & 1 || !is_aligned(p.x, size) || !is_aligned(p.values, size)) break;
    for (int i = 0; i + 1 < inner.ndim; ++i) inner.axis[i].x /= 2, inner.axis[i].values /= 2;
    for (int i = 0; i < p.outer.ndim; ++i) p.outer.axis[i].x /= 2, p.outer.axis[i].values /= 2;
    for (int i = 0; i < p.positions_ndim; ++i) p.values_stride[i] /= 2;
    for (int i = 0; i < p.indexed; ++i) p.stride[i] /= 2;
    run.extent /= 2;
    bytes *= 2;
  }
  return bytes;
}

}  // namespace

void index(const IndexParams& params, void* stream) {
  const auto s = static_cast<cudaStream_t>(stream);
  IndexParams p = params;
  const int bytes = widen_elements(p);
  const int64_t positions = p.positions(), inner = p.inner.count(),
                count = p.outer.count() * positions * inner;
  if (count == 0) return;
  Offsets o{};
  o.indexed = p.indexed;
  o.ndim = p.positions_ndim;
  for (int k = 0; k < p.indexed; ++k) {
    o.index[k] = p.index[k];
    o.wide[k] = p.index_dtype[k] == DType::int64;
    o.extent[k] = p.extent[k];
    o.stride[k] = p.stride[k];
    for (int d = 0; d < o.ndim; ++d) o.index_stride[k][d] = p.index_stride[k][o.ndim - 1 - d];
  }
  for (int d = 0; d < o.ndim; ++d) o.shape[d] = FastDivide(p.positions_shape[o.ndim - 1 - d]);
  const int64_t* const of_values[] = {p.values_stride};
  const Spread spread{FastDivide(inner), FastDivide(positions), walk_of(p.outer), walk_of(p.inner),
                      make_walk(p.positions_ndim, p.positions_shape, of_values)};
  if (p.mode != IndexMode::get) {
    const auto* entries = sort_lines<WideEntry>(p.op, SortTiles{1, positions, positions}, o, p.workspace, s);
    return index_write({p.op, p.mode, p.dtype, bytes, p.x, p.values, spread, count, entries}, s);
  }
  auto* keys = static_cast<uint64_t*>(p.workspace);
  launch(p.op, index_offsets_kernel, index_grid(p.op, positions, s), o, static_cast<unsigned>(positions),
         keys);
  const Grid grid = index_grid(p.op, count, s);
  dispatch_bytes(bytes, [&](auto w) {
    using W = decltype(w);
    launch(p.op, index_get_kernel<W>, grid, spread, static_cast<unsigned>(count), keys, is_float(p.dtype),
           static_cast<const W*>(p.x), static_cast<W*>(p.values));
  });
}

void gather(const GatherParams& p, void* stream) {
  const auto s = static_cast<cudaStream_t>(stream);
  // The axis goes back to its place among the lines' axes.
  int64_t shape[kMaxDims], x[kMaxDims], values[kMaxDims], index[kMaxDims];
  const int ndim = p.index_lines.ndim + 1;
  for (int i = 0, from = 0; i < ndim; ++i) {
    const bool axis = i == p.axis;
    shape[i] = axis ? p.count : p.index_lines.shape[from];
    x[i] = axis ? 0 : p.x_lines.strides[from];
    values[i] = axis ? p.value_lines.step : p.value_lines.strides[from];
    index[i] = axis ? p.index_lines.step : p.index_lines.strides[from];
    from += axis ? 0 : 1;
  }
  const int64_t* const strides[] = {x, values, index};
  const Along along{make_walk(ndim, shape, strides), p.x_lines.step, p.extent, p.index,
                    p.index_dtype == DType::int64};
  const int64_t count = p.lines * p.count;
  const auto bytes = static_cast<int>(size_of(p.dtype));
  if (p.mode != IndexMode::get) {
    const auto* entries = sort_lines<WideEntry>(p.op, SortTiles{1, count, count}, along, p.workspace, s);
    const int64_t* const of_values[] = {values};
    const Spread spread{FastDivide(1), FastDivide(count), {}, {}, make_walk(ndim, shape, of_values)};
    return index_write({p.op, p.mode, p.dtype, bytes, p.x, p.values, spread, count, entries}, s);
  }
  const Grid grid = index_grid(p.op, count, s);
  dispatch_bytes(bytes, [&](auto w) {
    using W = decltype(w);
    launch(p.op, gather_kernel<W>, grid, along, static_cast<unsigned>(count), is_float(p.dtype),
           static_cast<const W*>(p.x), static_cast<W*>(p.values));
  });
}

}  // namespace fastcnn::cuda
