#include "ops/linear.h"

#include "cpu/gemm.h"
#include "cuda/gemm.h"
#include "memory/workspace.h"

namespace fastcnn::ops {

namespace {

// Of a batch that shares B, the rows of all members are rows of one product if one stride leads through them.
bool fold_rows(GemmParams& g) {
  int64_t rows = g.m, step = g.a.row;
  for (int i = g.batch_ndim - 1; i >= 0; --i) {
    if (g.batch_shape[i] == 1) continue;
    if (g.b.batch[i] != 0) return false;
    if (rows == 1)
      step = g.a.batch[i];
    else if (g.a.batch[i] != step * rows)
      return false;
    rows *= g.batch_shape[i];
  }
  g.m = rows;
  g.a.row = step;
  g.batch_ndim = 0;
  return true;
}

// c = a * b + bias, the shapes being checked. a (batch..., m, k), b (batch..., k, n): equal batch axes.
Tensor product(const char* op, const Tensor& a, const Tensor& b, const Tensor* bias, const Dims& out_shape) {
  GemmParams g;
  const int last = a.ndim() - 1;
  g.dtype = a.dtype;
  g.m = a.shape[last - 1];
  g.k = a.shape[last];
  g.n = b.shape[last];
  g.a.row = a.strides[last - 1];
  g.a.col = a.strides[last];
  g.b.row = b.strides[last - 1];
  g.b.col = b.strides[last];
  g.batch_ndim = last - 1;
  for (int i = 0; i < last - 1; ++i) {
    g.batch_shape[i] = a.shape[i];
    g.a.batch[i] = a.strides[i];
    g.b.batch[i] = b.strides[i];
  }
  if (g.batch() > 0) fold_rows(g);
  const Context ctx = context_of(a);
  const DeviceProps& props = ctx.props();
  const Tensor c = empty(out_shape, a.dtype, a.device());
  const bool on_cpu = props.backend == DeviceType::cpu;
  const Workspace workspace(a.device(), on_cpu ? cpu::gemm_workspace_bytes(g, props.threads) : 0);
  g.a.data = a.raw();
  g.b.data = b.raw();
  g.c = c.raw();
  if (bias) {
    g.bias = bias->raw();
    g.bias_stride = bias->strides[0];
  }
  g.workspace = workspace.data();
  g.threads = props.threads;
  if (c.numel() > 0) launch(ctx, op, g, cpu::gemm, FC_CUDA(gemm));
  return c;
}

Dims without_last_two(const Dims& shape) {
  Dims out = shape;
  out.n -= 2;
  return out;
}
Dims with_two_more(Dims shape, int64_t a, int64_t b) {
  shape.push_back(a);
  shape.push_back(b);
  return shape;
}

}  // namespace

Tensor matmul(const char* op, const Tensor& a, const Tensor& b) {
  const OpScope scope(op);
  check_same_device(op, {&a, &b});
  check_same_dtype(op, {&a, &b});
  FC_CHECK_TYPE(a.dtype != DType::boolean, op,
                ": got bool tensors, expected numbers; convert with .to(\"int64\")");
  FC_CHECK(a.ndim() >= 2 && b.ndim() >= 2, op, ": got shapes ", to_string(a.shape), " and ",
           to_string(b.shape), ", expected matrices");
  const int64_t m = a.shape[a.ndim() - 2], k = a.shape[a.ndim() - 1], n = b.shape[b.ndim() - 1];
  FC_CHECK(b.shape[b.ndim() - 2] == k, op, ": inner extents differ, got ", to_string(a.shape), " and ",
           to_string(b.shape), ", expected the first's columns (", k, ") to be the second's rows (",
           b.shape[b.ndim() - 2], ")");
  const Dims batch = broadcast_shapes(without_last_two(a.shape), without_last_two(b.shape), op);
  return product(op, a.expand(with_two_more(batch, m, k)), b.expand(with_two_more(batch, k, n)), nullptr,
                 with_two_more(batch, m, n));
}

Tensor linear(const Tensor& x, const Tensor& weight, const std::optional<Tensor>& bias) {
  const char* op = "linear";
  const OpScope scope("linear.forward");
  check_same_device(op, {&x, &weight, bias ? &*bias : &x});
  check_same_dtype(op, {&x, &weight, bias ? &*bias : &x});
  check_float(op, x);
  FC_CHECK(weight.ndim() == 2, op, ": weight has shape ", to_string(weight.shape),
           ", expected (out_features, in_features)");
  const int64_t out = weight.shape[0], in = weight.shape[1];
  FC_CHECK(x.ndim() >= 1 && x.shape[x.ndim() - 1] == in, op, ": input has shape ", to_string(x.shape),
           ", expected (..., ", in, ") for weight ", to_string(weight.shape),
           "; flatten the axes behind the batch, or build the layer for ",
           x.ndim() ? x.shape[x.ndim() - 1] : 1, " input features");
  FC_CHECK(!bias || (bias->ndim() == 1 && bias->shape[0] == out), op, ": bias has shape ",
           bias ? to_string(bias->shape) : "", ", expected (", out, ",): the layer has ", out,
           " output features");
  const Tensor rows = x.ndim() == 1 ? x.unsqueeze(0) : x;
  Dims out_shape = x.shape, w_shape = without_last_two(rows.shape);
  out_shape[x.ndim() - 1] = out;
  return product(op, rows, weight.permute({1, 0}).expand(with_two_more(w_shape, in, out)),
                 bias ? &*bias : nullptr, out_shape);
}

}  // namespace fastcnn::ops
