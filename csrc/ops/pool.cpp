#include "ops/pool.h"

#include "cpu/pool.h"
#include "cuda/pool.h"
#include "ops/context.h"
#include "ops/elementwise.h"

namespace fastcnn::ops {

namespace {

using Kernel = CpuKernel<PoolParams>;
using CardKernel = CudaKernel<PoolParams>;

PoolProblem problem_of(const char* op, const Dims& x, const PoolGeometry& g, DType dtype) {
  return PoolProblem(op, g.window.n, x, g, dtype);
}

// NHWC memory; a copy in that order is tagged `layout`.
Tensor dense(const Tensor& t) { return contiguous(t, true); }

void check_output(const char* op, const PoolProblem& p, const char* what, const Tensor& t) {
  FC_CHECK(t.shape == p.output_shape(), op, ": ", what, " has shape ", to_string(t.shape), ", expected ",
           to_string(p.output_shape()), " for input ", to_string(p.input_shape()));
}

void set_taps(PoolParams& a, const Tensor& taps) {
  a.tap = taps.raw();
  a.tap_dtype = taps.dtype;
}

void run(const char* op, const Tensor& t, const PoolParams& params, Kernel kernel, CardKernel card) {
  if (t.numel() > 0) launch(context_of(t), op, params, kernel, card);
}

}  // namespace

std::pair<Tensor, std::optional<Tensor>> max_pool_forward(const char* op, const Tensor& x,
                                                          const PoolGeometry& geometry, bool want_taps,
                                                          bool relu) {
  const OpScope scope(op);
  FC_CHECK_TYPE(x.dtype != DType::boolean, op, ": got a bool tensor, expected a float or integer dtype");
  const PoolProblem p = problem_of(op, x.shape, geometry, x.dtype);
  FC_CHECK(!want_taps || numel(Dims{p.window[0], p.window[1], p.window[2]}) <= INT32_MAX, op,
           ": positions are kept in 32 bits, got windows of ", p.window[0], " x ", p.window[1], " x ",
           p.window[2], " cells, expected below 2^31; use no_grad(), or amax over the axes");
  const Tensor source = dense(x);
  Tensor y = empty_channels_last(p.output_shape(), x.dtype, x.device());
  std::optional<Tensor> taps;
  if (want_taps) taps = empty_channels_last(p.output_shape(), p.tap_dtype(relu), x.device());
  PoolParams a{};
  a.problem = &p;
  a.x = source.raw();
  a.y = y.raw();
  if (taps) set_taps(a, *taps);
  a.relu = relu;
  run(op, y, a, cpu::max_pool_forward, FC_CUDA(max_pool_forward));
  return {std::move(y), std::move(taps)};
}

Tensor max_pool_indices(const char* op, const Dims& x_shape, const Tensor& taps,
                        const PoolGeometry& geometry) {
  const OpScope scope(op);
  const PoolProblem p = problem_of(op, x_shape, geometry, DType::float32);
  check_output(op, p, "taps", taps);
  const Tensor y = empty_channels_last(p.output_shape(), DType::int64, taps.device());
  PoolParams a{};
  a.problem = &p;
  set_taps(a, taps);
  a.y = y.raw();
  run(op, y, a, cpu::max_pool_indices, FC_CUDA(max_pool_indices));
  return y;
}

Tensor max_pool_backward(const char* op, const Dims& x_shape, const Tensor& taps, const Tensor& dy,
                         const PoolGeometry& geometry) {
  const OpScope scope(op);
  const PoolProblem p = problem_of(op, x_shape, geometry, dy.dtype);
  check_float(op, dy);
  check_output(op, p, "grad_output", dy);
  check_output(op, p, "taps", taps);
  const Tensor source = dense(dy);
  const Tensor dx = empty_channels_last(x_shape, dy.dtype, dy.device());
  PoolParams a{};
  a.problem = &p;
  set_taps(a, taps);
  a.dy = source.raw();
  a.dx = dx.raw();
  run(op, dx, a, cpu::max_pool_backward, FC_CUDA(max_pool_backward));
  return dx;
}

Tensor max_pool_gather(const char* op, const Tensor& x, const Tensor& taps, const PoolGeometry& geometry) {
  const OpScope scope(op);
  const PoolProblem p = problem_of(op, x.shape, geometry, x.dtype);
  check_float(op, x);
  check_output(op, p, "taps", taps);
  const Tensor source = dense(x);
  const Tensor y = empty_channels_last(p.output_shape(), x.dtype, x.device());
  PoolParams a{};
  a.problem = &p;
  a.x = source.raw();
  set_taps(a, taps);
  a.y = y.raw();
  run(op, y, a, cpu::max_pool_gather, FC_CUDA(max_pool_gather));
  return y;
}

Tensor avg_pool_forward(const char* op, const Tensor& x, const PoolGeometry& geometry, bool include_padding,
                        double divisor) {
  const OpScope scope(op);
  check_float(op, x);
  const PoolProblem p = problem_of(op, x.shape, geometry, x.dtype);
  const Tensor source = dense(x);
  const Tensor y = empty_channels_last(p.output_shape(), x.dtype, x.device());
  PoolParams a{};
  a.problem = &p;
  a.x = source.raw();
  a.y = y.raw();
  a.include_padding = include_padding;
  a.divisor = divisor;
  run(op, y, a, cpu::avg_pool_forward, FC_CUDA(avg_pool_forward));
  return y;
}

Tensor avg_pool_backward(const char* op, const Dims& x_shape, const Tensor& dy, const PoolGeometry& geometry,
                         bool include_padding, double divisor) {
  const OpScope scope(op);
  check_float(op, dy);
  const PoolProblem p = problem_of(op, x_shape, geometry, dy.dtype);
  check_output(op, p, "grad_output", dy);
  const Tensor source = dense(dy);
  const Tensor dx = empty_channels_last(x_shape, dy.dtype, dy.device());
  PoolParams a{};
  a.problem = &p;
  a.dy = source.raw();
  a.dx = dx.raw();
  a.include_padding = include_padding;
  a.divisor = divisor;
  run(op, dx, a, cpu::avg_pool_backward, FC_CUDA(avg_pool_backward));
  return dx;
}

}  // namespace fastcnn::ops
