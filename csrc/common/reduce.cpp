#include "common/reduce.h"

#include <algorithm>

namespace fastcnn {

namespace {

constexpr const char* kNames[] = {"sum", "prod", "max", "min", "any", "all", "argmax", "argmin"};
static_assert(std::size(kNames) == size_t(Reduce::count));

void append(ReduceNest& nest, int64_t extent, int64_t x, int64_t y, bool has_y) {
  nest.count *= extent;
  const int last = nest.ndim - 1;
  const bool merge = nest.ndim > 0 && nest.x[last] == x * extent && (!has_y || nest.y[last] == y * extent);
  const int slot = merge ? last : nest.ndim++;
  nest.shape[slot] = merge ? nest.shape[slot] * extent : extent;
  nest.x[slot] = x;
  nest.y[slot] = y;
}

}  // namespace

const char* name_of(Reduce op) { return kNames[size_t(op)]; }

DType result_dtype(Reduce op, DType x) {
  switch (op) {
    case Reduce::any:
    case Reduce::all: return DType::boolean;
    case Reduce::sum:
    case Reduce::prod: return is_float(x) ? x : DType::int64;
    default: return x;
  }
}

ReduceParams make_reduce(Reduce op, const Tensor& x, const bool* reduce, const Dims& y_strides) {
  ReduceParams p;
  p.op = op;
  p.dtype = x.dtype;
  p.x = x.raw();
  int order[kMaxDims], axes = 0;
  for (int i = 0; i < x.ndim(); ++i)
    if (x.shape[i] != 1) order[axes++] = i;
  std::stable_sort(order, order + axes,
                   [&](int a, int b) { return std::abs(x.strides[a]) > std::abs(x.strides[b]); });
  for (int i = 0; i < axes; ++i) {
    const int axis = order[i];
    append(reduce[axis] ? p.reduced : p.kept, x.shape[axis], x.strides[axis], y_strides[axis], !reduce[axis]);
  }
  for (ReduceNest* nest : {&p.kept, &p.reduced})
    if (nest->ndim == 0) append(*nest, 1, 0, 0, false);

  const int k = p.kept.ndim - 1, r = p.reduced.ndim - 1;
  p.lanes = p.kept.shape[k] > 1 && std::abs(p.kept.x[k]) < std::abs(p.reduced.x[r]);
  const int64_t outputs = p.kept.count, elements = p.reduced.count;
  const int64_t width = p.lanes ? std::min(p.kept.shape[k], kReduceLanes) : 1;
  p.chunk = std::max<int64_t>(elements, 1);
  // Few outputs with much to reduce: cut the reduced axis too, so that there is work for all threads.
  if (outputs / width < 64) p.chunk = std::min(p.chunk, std::max<int64_t>(kReduceTask / width, 256));
  p.chunks = std::max<int64_t>((elements + p.chunk - 1) / p.chunk, 1);
  return p;
}

size_t reduce_workspace_bytes(const ReduceParams& p) {
  // 16 bytes hold the state of every op: a sum of 8 bytes, or a value with its index.
  return p.chunks > 1 ? size_t(p.chunks) * size_t(p.kept.count) * 16 : 0;
}

}  // namespace fastcnn
