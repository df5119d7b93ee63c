#include "ops/axis_map.h"

#include "cpu/axis_map.h"
#include "cuda/axis_map.h"
#include "memory/workspace.h"
#include "ops/context.h"
#include "ops/elementwise.h"

namespace fastcnn::ops {

Tensor axis_map(const char* op, const Tensor& x, int axis, const AxisMap& map, bool transposed) {
  const OpScope scope(op);
  check_float(op, x);
  const AxisMap::Rows& rows = transposed ? map.transposed() : map.forward();
  const int64_t in = transposed ? map.out() : map.in();
  axis = normalize_axis(axis, x.ndim(), op);
  FC_CHECK(x.shape[axis] == in, op, ": axis ", axis, " of ", to_string(x.shape), " has ", x.shape[axis],
           " elements, expected ", in);
  const bool last = x.ndim() >= 3 && x.ndim() <= 5;
  const Tensor source = contiguous(x, last);
  Dims shape = x.shape;
  shape[axis] = rows.count();
  const Tensor y = last ? empty_channels_last(shape, x.dtype, x.device()) : empty(shape, x.dtype, x.device());
  const Context ctx = context_of(x);
  const Workspace table(x.device(), ctx.on_card() && y.numel() > 0 ? rows.table_bytes() : 0);
  AxisMapParams a{x.dtype, &rows, 1, 1, in, source.raw(), y.raw(), table.data()};
  // Memory order: n, spatial axes, channels - or as they are.
  for (int i = 0; i < x.ndim(); ++i) {
    if (i == axis) continue;
    const auto rank = [&](int j) { return last && j == 1 ? x.ndim() : j; };
    (rank(i) < rank(axis) ? a.outer : a.inner) *= x.shape[i];
  }
  if (y.numel() > 0) launch(ctx, op, a, cpu::axis_map, FC_CUDA(axis_map));
  return y;
}

}  // namespace fastcnn::ops
