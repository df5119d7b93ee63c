#include "ops/indexing.h"

#include "cpu/indexing.h"
#include "cuda/indexing.h"
#include "memory/workspace.h"
#include "ops/row_layout.h"
#include "ops/transfer.h"

namespace fastcnn::ops {

namespace {

void check_index(const char* op, const Tensor& x, const Tensor& index) {
  check_same_device(op, {&x, &index});
  FC_CHECK_TYPE(index.dtype == DType::int64 || index.dtype == DType::int32, op, ": index is ",
                name_of(index.dtype), ", expected int64 or int32; convert with .to(\"int64\")");
}

struct Layout {
  IndexParams params{};
  Dims shape;           ///< of the values
  int first_value = 0;  ///< axis of the values where the positions begin
};

// Everything but the values' memory.
Layout layout_of(const char* op, const Tensor& x, const Indices& indices, IndexMode mode) {
  FC_CHECK(int(indices.size()) <= x.ndim(), op, ": got ", indices.size(), " indices for shape ",
           to_string(x.shape), ", expected at most ", x.ndim());
  Layout l;
  IndexParams& p = l.params;
  p.mode = mode;
  p.op = op;
  p.dtype = x.dtype;
  p.x = x.raw();
  Dims positions;
  int first = -1, last = -1;
  for (int i = 0; i < int(indices.size()); ++i) {
    if (!indices[i]) continue;
    check_index(op, x, *indices[i]);
    positions = broadcast_shapes(positions, indices[i]->shape, op);
    first = first < 0 ? i : first;
    last = i;
    p.axis[p.indexed] = i;
    p.extent[p.indexed] = x.shape[i];
    p.stride[p.indexed] = x.strides[i];
    ++p.indexed;
  }
  FC_CHECK(p.indexed > 0, op, ": got no index, expected at least one");
  const bool together = last - first + 1 == p.indexed;
  l.first_value = together ? first : 0;
  p.positions_ndim = positions.n;
  for (int d = 0; d < positions.n; ++d) p.positions_shape[d] = positions[d];
  for (int k = 0; k < p.indexed; ++k) {
    const Tensor index = indices[p.axis[k]]->expand(positions);
    p.index[k] = index.raw();
    p.index_dtype[k] = index.dtype;
    for (int d = 0; d < positions.n; ++d) p.index_stride[k][d] = index.strides[d];
  }
  // The values' axes: those in front, the positions, those behind; the nests get their x strides now.
  int k = 0;
  const auto add_positions = [&] {
    for (int64_t extent : positions) l.shape.push_back(extent);
  };
  if (l.first_value == 0) add_positions();
  for (int i = 0; i < x.ndim(); ++i) {
    if (k < p.indexed && p.axis[k] == i) {
      if (++k == 1 && l.first_value > 0) add_positions();
      continue;
    }
    IndexNest& nest = together && i < first ? p.outer : p.inner;
    nest.axis[nest.ndim++] = {x.shape[i], x.strides[i], 0};
    l.shape.push_back(x.shape[i]);
  }
  return l;
}

void set_values(Layout& l, const Tensor& values) {
  IndexParams& p = l.params;
  p.values = values.raw();
  int at = 0;
  for (int i = 0; i < p.outer.ndim; ++i) p.outer.axis[i].values = values.strides[at++];
  for (int d = 0; d < p.positions_ndim; ++d) p.values_stride[d] = values.strides[at++];
  for (int i = 0; i < p.inner.ndim; ++i) p.inner.axis[i].values = values.strides[at++];
  // Inner axes become one where both sides allow: long runs.
  IndexNest merged;
  for (int i = 0; i < p.inner.ndim; ++i) {
    const IndexAxis& axis = p.inner.axis[i];
    if (axis.extent == 1) continue;
    IndexAxis* last = merged.ndim ? &merged.axis[merged.ndim - 1] : nullptr;
    if (last && last->x == axis.x * axis.extent && last->values == axis.values * axis.extent)
      *last = {last->extent * axis.extent, axis.x, axis.values};
    else
      merged.axis[merged.ndim++] = axis;
  }
  p.inner = merged;
}

void run(const char* op, const Tensor& x, Layout& l, const Tensor& values) {
  const Context ctx = context_of(x);
  const Workspace workspace(x.device(), l.params.workspace_bytes(ctx.on_card()));
  set_values(l, values);
  l.params.workspace = workspace.data();
  if (l.params.positions() > 0) launch(ctx, op, l.params, cpu::index, FC_CUDA(index));
}

GatherParams gather_params(const char* op, const Tensor& x, int64_t axis, const Tensor& index,
                           IndexMode mode) {
  check_index(op, x, index);
  GatherParams p{};
  p.mode = mode;
  p.op = op;
  p.axis = normalize_axis(axis, x.ndim(), op);
  FC_CHECK(index.ndim() == x.ndim(), op, ": index has shape ", to_string(index.shape), ", expected ",
           x.ndim(), " axes like ", to_string(x.shape));
  for (int i = 0; i < x.ndim(); ++i)
    FC_CHECK(i == p.axis || index.shape[i] <= x.shape[i], op, ": index has shape ", to_string(index.shape),
             ", expected at most ", to_string(x.shape), " on every axis but ", p.axis);
  p.dtype = x.dtype;
  p.index_dtype = index.dtype;
  p.x = x.raw();
  p.index = index.raw();
  p.extent = x.shape[p.axis];
  p.count = index.shape[p.axis];
  p.lines = 1;
  for (int i = 0; i < x.ndim(); ++i) p.lines *= i == p.axis ? 1 : index.shape[i];
  p.index_lines = rows_of(index, p.axis);
  return p;
}

// The lines of `t` that the index has.
RowLayout lines_like(const Tensor& t, const Tensor& index, int axis) {
  Tensor part = t;
  for (int i = 0; i < t.ndim(); ++i)
    if (i != axis) part.shape[i] = index.shape[i];
  return rows_of(part, axis);
}

}  // namespace

Tensor index_get(const char* op, const Tensor& x, const Indices& indices) {
  const OpScope scope(op);
  Layout l = layout_of(op, x, indices, IndexMode::get);
  const Tensor y = empty(l.shape, x.dtype, x.device());
  run(op, x, l, y);
  return y;
}

void index_put_(const char* op, const Tensor& x, const Indices& indices, const Tensor& values,
                bool accumulate) {
  const OpScope scope(op);
  check_same_device(op, {&x, &values});
  check_same_dtype(op, {&x, &values});
  check_writable(op, x);
  Layout l = layout_of(op, x, indices, accumulate ? IndexMode::add : IndexMode::put);
  FC_CHECK(broadcast_shapes(values.shape, l.shape, op) == l.shape, op, ": values have shape ",
           to_string(values.shape), ", expected one that broadcasts to ", to_string(l.shape));
  run(op, x, l, unaliased(x, values, false).expand(l.shape));
  changed(x);
}

Tensor gather(const char* op, const Tensor& x, int64_t axis, const Tensor& index) {
  const OpScope scope(op);
  GatherParams p = gather_params(op, x, axis, index, IndexMode::get);
  const Tensor y = empty(index.shape, x.dtype, x.device());
  p.values = y.raw();
  p.x_lines = lines_like(x, index, p.axis);
  p.value_lines = rows_of(y, p.axis);
  if (y.numel() > 0) launch(context_of(x), op, p, cpu::gather, FC_CUDA(gather));
  return y;
}

void scatter_(const char* op, const Tensor& x, int64_t axis, const Tensor& index, const Tensor& values,
              bool accumulate) {
  const OpScope scope(op);
  check_same_device(op, {&x, &values});
  check_same_dtype(op, {&x, &values});
  check_writable(op, x);
  // An index that lies in x must not change while it is read, after it was found to be in range.
  const Tensor places = unaliased(x, index, false), from = unaliased(x, values, false);
  GatherParams p = gather_params(op, x, axis, places, accumulate ? IndexMode::add : IndexMode::put);
  bool fits = from.ndim() == index.ndim();
  for (int i = 0; fits && i < index.ndim(); ++i) fits = from.shape[i] >= index.shape[i];
  FC_CHECK(fits, op, ": src has shape ", to_string(from.shape), ", expected at least the index's ",
           to_string(index.shape));
  p.values = from.raw();
  p.x_lines = lines_like(x, index, p.axis);
  p.value_lines = lines_like(from, index, p.axis);
  const Context ctx = context_of(x);
  const Workspace workspace(x.device(), p.workspace_bytes(ctx.on_card()));
  p.workspace = workspace.data();
  if (index.numel() > 0) launch(ctx, op, p, cpu::gather, FC_CUDA(gather));
  changed(x);
}

Tensor nonzero(const char* op, const Tensor& x) {
  const OpScope scope(op);
  if (x.device().is_meta())
    fail<TypeError>(op, ": the size of the result depends on values, which a ", to_string(x.device()),
                    " tensor does not have; use where or masked_fill, whose sizes are known");
  NonzeroParams p{};
  p.dtype = x.dtype;
  p.x = x.raw();
  p.ndim = x.ndim();
  p.numel = x.numel();
  std::copy(x.shape.begin(), x.shape.end(), p.shape);
  std::copy(x.strides.begin(), x.strides.end(), p.strides);
  const Workspace workspace(x.device(), size_t(p.chunks() + 1) * sizeof(int64_t));
  p.counts = workspace.as<int64_t>();
  int64_t found = 0;
  if (p.numel > 0) {
    launch(context_of(x), op, p, cpu::nonzero, FC_CUDA(nonzero));
    found = read_back(p.counts + p.chunks(), x.device());
  }
  const Tensor y = empty({found, x.ndim()}, DType::int64, x.device());
  p.indices = y.data<int64_t>();
  if (y.numel() > 0) launch(context_of(x), op, p, cpu::nonzero, FC_CUDA(nonzero));
  return y;
}

}  // namespace fastcnn::ops
