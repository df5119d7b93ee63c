#include "ops/scan.h"

#include <algorithm>

#include "cpu/scan.h"
#include "cuda/scan.h"
#include "memory/workspace.h"
#include "ops/row_layout.h"

namespace fastcnn::ops {

namespace {

// A tensor without axes is one line of one element.
Tensor with_an_axis(const Tensor& x) { return x.ndim() == 0 ? x.unsqueeze(0) : x; }

}  // namespace

std::pair<std::optional<Tensor>, Tensor> sort(const char* op, const Tensor& x, int64_t axis, int64_t k,
                                              bool descending, bool want_values) {
  const OpScope scope(op);
  const Tensor source = with_an_axis(x);
  const int at = normalize_axis(axis, source.ndim(), op);
  SortParams p{};
  p.dtype = x.dtype;
  p.descending = descending;
  p.count = source.shape[at];
  p.k = k < 0 ? p.count : k;
  FC_CHECK(p.k <= p.count, op, ": k is ", k, ", expected at most the ", p.count, " elements of dim ", at,
           " of shape ", to_string(x.shape));
  Dims shape = source.shape;
  shape[at] = p.k;
  p.lines = 1;
  for (int i = 0; i < source.ndim(); ++i) p.lines *= i == at ? 1 : source.shape[i];
  std::optional<Tensor> values;
  if (want_values) values = empty(shape, x.dtype, x.device());
  Tensor indices = empty(shape, DType::int64, x.device());
  const Context ctx = context_of(x);
  p.workers = int(std::min<int64_t>(ctx.props().threads, std::max<int64_t>(p.lines, 1)));
  const bool work = indices.numel() > 0;
  const size_t bytes = ctx.on_card() ? p.tiles_bytes() : size_t(p.workers) * p.bytes_per_worker();
  const Workspace workspace(x.device(), work ? bytes : 0);
  p.x = rows_of(source, at);
  p.x_data = source.raw();
  if (values) {
    p.values = rows_of(*values, at);
    p.values_data = values->raw();
  }
  p.indices = rows_of(indices, at);
  p.indices_data = indices.data<int64_t>();
  p.workspace = workspace.data();
  if (work) launch(ctx, op, p, cpu::sort, FC_CUDA(sort));
  if (x.ndim() == 0 && p.k == 1) {
    if (values) values = values->select(0, 0);
    indices = indices.select(0, 0);
  }
  return {values, indices};
}

Tensor cumsum(const Tensor& x, int64_t axis, bool reverse) {
  const OpScope scope("cumsum");
  const Tensor source = with_an_axis(x);
  const int at = normalize_axis(axis, source.ndim(), "cumsum");
  const Tensor y = empty(source.shape, is_float(x.dtype) ? x.dtype : DType::int64, x.device());
  CumsumParams p{};
  p.dtype = x.dtype;
  p.reverse = reverse;
  p.count = source.shape[at];
  p.lines = 1;
  for (int i = 0; i < source.ndim(); ++i) p.lines *= i == at ? 1 : source.shape[i];
  p.x = rows_of(source, at);
  p.y = rows_of(y, at);
  p.x_data = source.raw();
  p.y_data = y.raw();
  const Context ctx = context_of(x);
  const Workspace workspace(x.device(), ctx.on_card() && y.numel() > 0 ? p.chunk_bytes() : 0);
  p.workspace = workspace.data();
  if (y.numel() > 0) launch(ctx, "cumsum", p, cpu::cumsum, FC_CUDA(cumsum));
  return x.ndim() == 0 ? y.select(0, 0) : y;
}

Tensor arange(int64_t count, double start, double step, int64_t whole_start, int64_t whole_step, DType dtype,
              Device device) {
  const OpScope scope("arange");
  const Tensor y = empty({count}, dtype, device);
  const RampParams p{dtype, count, y.raw(), start, step, 0, false, whole_start, whole_step};
  if (count > 0) launch(context_of(device), "arange", p, cpu::ramp, FC_CUDA(ramp));
  return y;
}

Tensor linspace(double start, double end, int64_t count, DType dtype, Device device) {
  const OpScope scope("linspace");
  dispatch_float(dtype, "linspace", [](auto) {});
  FC_CHECK(count >= 0, "linspace: got ", count, " steps, expected a number >= 0");
  const Tensor y = empty({count}, dtype, device);
  const double step = count > 1 ? (end - start) / double(count - 1) : 0;
  const RampParams p{dtype, count, y.raw(), start, step, count > 1 ? end : start, true, 0, 0};
  if (count > 0) launch(context_of(device), "linspace", p, cpu::ramp, FC_CUDA(ramp));
  return y;
}

}  // namespace fastcnn::ops
