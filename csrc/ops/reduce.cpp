#include "ops/reduce.h"

#include "cpu/reduce.h"
#include "cuda/reduce.h"
#include "memory/workspace.h"

namespace fastcnn::ops {

namespace {

struct Shapes {
  bool reduce[kMaxDims] = {};
  Dims kept;     ///< of the result, without the reduced axes
  Dims full;     ///< with them, as 1
  Dims strides;  ///< of the result, per axis of x
};

Shapes shapes_of(const char* op, const Tensor& x, const Dims& axes) {
  Shapes s;
  if (axes.n == 0)
    for (bool& r : s.reduce) r = true;
  for (int64_t a : axes) {
    const int axis = normalize_axis(a, x.ndim(), op);
    FC_CHECK(!s.reduce[axis], op, ": dim ", a, " appears twice in ", to_string(axes));
    s.reduce[axis] = true;
  }
  for (int i = 0; i < x.ndim(); ++i) {
    s.full.push_back(s.reduce[i] ? 1 : x.shape[i]);
    if (!s.reduce[i]) s.kept.push_back(x.shape[i]);
  }
  s.strides = contiguous_strides(s.full);
  return s;
}

void run(const Context& ctx, ReduceParams& params) {
  const Workspace workspace(ctx.device, reduce_workspace_bytes(params));
  params.partials = workspace.data();
  launch(ctx, name_of(params.op), params, cpu::reduce, FC_CUDA(reduce));
}

void check_not_empty(Reduce op, const Tensor& x, const ReduceParams& params) {
  FC_CHECK(params.reduced.count > 0 || params.kept.count == 0, name_of(op), ": nothing to take the ",
           name_of(op), " of, got shape ", to_string(x.shape),
           ", expected at least one element along the dims");
}

}  // namespace

Tensor reduce(Reduce op, const Tensor& x, const Dims& axes, bool keepdim, double divisor) {
  const char* name = name_of(op);
  OpScope scope(name);
  FC_CHECK(!is_arg(op), name, ": takes one dim, use reduce_arg");
  const Shapes s = shapes_of(name, x, axes);
  ReduceParams params = make_reduce(op, x, s.reduce, s.strides);
  if (op == Reduce::max || op == Reduce::min) check_not_empty(op, x, params);
  Tensor y = empty(keepdim ? s.full : s.kept, result_dtype(op, x.dtype), x.device());
  params.y = y.raw();
  params.divisor = divisor;
  run(context_of(x), params);
  return y;
}

std::pair<Tensor, Tensor> reduce_arg(Reduce op, const Tensor& x, int64_t axis, bool keepdim) {
  const char* name = name_of(op);
  OpScope scope(name);
  FC_CHECK(is_arg(op), name, ": has no indices");
  Dims axes;
  if (x.ndim() > 0) axes.push_back(axis);
  const Shapes s = shapes_of(name, x, axes);
  ReduceParams params = make_reduce(op, x, s.reduce, s.strides);
  check_not_empty(op, x, params);
  Tensor y = empty(keepdim ? s.full : s.kept, x.dtype, x.device());
  Tensor indices = empty(y.shape, DType::int64, x.device());
  params.y = y.raw();
  params.indices = indices.data<int64_t>();
  run(context_of(x), params);
  return {std::move(y), std::move(indices)};
}

}  // namespace fastcnn::ops
