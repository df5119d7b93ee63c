#include "ops/pool_fractional.h"

#include "cpu/pool.h"
#include "cuda/pool.h"
#include "memory/workspace.h"
#include "ops/elementwise.h"

namespace fastcnn::ops {

namespace {

Tensor dense(const Tensor& t) { return contiguous(t, true); }

void check_samples(const char* op, const FractionalProblem& p, const Tensor& samples) {
  FC_CHECK_TYPE(samples.dtype == DType::float64, op, ": samples are ", name_of(samples.dtype),
                ", expected float64");
  FC_CHECK((samples.shape == Dims{p.N, p.C, p.spatial}), op, ": _random_samples has shape ",
           to_string(samples.shape), ", expected ", to_string(Dims{p.N, p.C, p.spatial}),
           ": one number per sample, channel and axis");
}

void check_output(const char* op, const FractionalProblem& p, const Tensor& t) {
  FC_CHECK(t.shape == p.output_shape(), op, ": grad_output has shape ", to_string(t.shape), ", expected ",
           to_string(p.output_shape()));
}

void run(const char* op, FractionalParams::Pass pass, const FractionalProblem& p, const Tensor& samples,
         const Tensor* x, const Tensor* tap, const Tensor& y) {
  const Tensor numbers = contiguous(samples, false);
  FractionalParams a{};
  a.pass = pass;
  a.problem = &p;
  a.samples = numbers.data<double>();
  a.x = x ? x->raw() : nullptr;
  a.tap = tap ? tap->raw() : nullptr;
  a.y = y.raw();
  if (y.numel() > 0) launch(context_of(y), op, a, cpu::fractional_max_pool, FC_CUDA(fractional_max_pool));
}

}  // namespace

std::pair<Tensor, std::optional<Tensor>> fractional_max_pool_forward(const char* op, const Tensor& x,
                                                                     const Tensor& samples,
                                                                     const Dims& window, const Dims& out,
                                                                     bool want_taps) {
  const OpScope scope(op);
  check_float(op, x);
  check_same_device(op, {&x, &samples});
  const FractionalProblem p(op, x.shape, window, out, x.dtype);
  check_samples(op, p, samples);
  const Tensor source = dense(x);
  Tensor y = empty_channels_last(p.output_shape(), x.dtype, x.device());
  std::optional<Tensor> taps;
  if (want_taps) taps = empty_channels_last(p.output_shape(), p.tap_dtype(), x.device());
  run(op, FractionalParams::forward, p, samples, &source, taps ? &*taps : nullptr, y);
  return {std::move(y), std::move(taps)};
}

Tensor fractional_max_pool_indices(const char* op, const Dims& x_shape, const Tensor& samples,
                                   const Tensor& taps, const Dims& window, const Dims& out) {
  const OpScope scope(op);
  const FractionalProblem p(op, x_shape, window, out, DType::float32);
  check_output(op, p, taps);
  const Tensor y = empty_channels_last(p.output_shape(), DType::int64, taps.device());
  run(op, FractionalParams::indices, p, samples, nullptr, &taps, y);
  return y;
}

Tensor fractional_max_pool_backward(const char* op, const Dims& x_shape, const Tensor& samples,
                                    const Tensor& taps, const Tensor& dy, const Dims& window,
                                    const Dims& out) {
  const OpScope scope(op);
  check_float(op, dy);
  const FractionalProblem p(op, x_shape, window, out, dy.dtype);
  check_output(op, p, dy);
  const Tensor source = dense(dy);
  const Tensor dx = empty_channels_last(x_shape, dy.dtype, dy.device());
  run(op, FractionalParams::backward, p, samples, &source, &taps, dx);
  return dx;
}

Tensor fractional_max_pool_gather(const char* op, const Tensor& x, const Tensor& samples, const Tensor& taps,
                                  const Dims& window, const Dims& out) {
  const OpScope scope(op);
  check_float(op, x);
  const FractionalProblem p(op, x.shape, window, out, x.dtype);
  const Tensor source = dense(x);
  const Tensor y = empty_channels_last(p.output_shape(), x.dtype, x.device());
  run(op, FractionalParams::gather, p, samples, &source, &taps, y);
  return y;
}

namespace {

UnpoolParams unpool_params(const char* op, const Tensor& values, const Tensor& index, const Tensor& plane) {
  UnpoolParams a{};
  a.op = op;
  a.dtype = plane.dtype;
  a.N = index.shape[0];
  a.C = index.shape[1];
  a.positions = a.cells = 1;
  for (int i = 2; i < index.ndim(); ++i) {
    a.positions *= values.shape[i];
    a.cells *= plane.shape[i];
  }
  a.index = index.data<int64_t>();
  return a;
}

void check_unpool(const char* op, const Tensor& x, const Tensor& indices) {
  check_float(op, x);
  check_same_device(op, {&x, &indices});
  FC_CHECK_TYPE(indices.dtype == DType::int64, op, ": indices are ", name_of(indices.dtype),
                ", expected int64");
}

}  // namespace

Tensor max_unpool_forward(const char* op, const Tensor& x, const Tensor& indices, const Dims& out) {
  const OpScope scope(op);
  check_unpool(op, x, indices);
  FC_CHECK(x.ndim() == out.n + 2, op, ": expected ", out.n + 1, "D (unbatched) or ", out.n + 2,
           "D (batched) input, got shape ", to_string(x.shape));
  FC_CHECK(indices.shape == x.shape, op, ": indices have shape ", to_string(indices.shape),
           ", expected that of the input, ", to_string(x.shape));
  Dims shape{x.shape[0], x.shape[1]};
  for (int64_t extent : out) {
    FC_CHECK(extent > 0, op, ": output size is ", to_string(out), ", expected positive extents");
    shape.push_back(extent);
  }
  const Tensor source = dense(x), index = dense(indices);
  const Tensor y = empty_channels_last(shape, x.dtype, x.device());
  UnpoolParams a = unpool_params(op, source, index, y);
  a.in = source.raw();
  a.out = y.raw();
  const Workspace last(y.device(), context_of(y).on_card() ? size_t(y.numel()) * sizeof(int32_t) : 0);
  a.last = last.as<int32_t>();
  if (y.numel() > 0) launch(context_of(y), op, a, cpu::max_unpool, FC_CUDA(max_unpool));
  return y;
}

Tensor max_unpool_backward(const char* op, const Tensor& dy, const Tensor& indices) {
  const OpScope scope(op);
  check_unpool(op, dy, indices);
  const Tensor source = dense(dy), index = dense(indices);
  const Tensor dx = empty_channels_last(indices.shape, dy.dtype, dy.device());
  const Workspace marks(dy.device(), size_t(dy.numel()) * (context_of(dy).on_card() ? sizeof(int32_t) : 1));
  UnpoolParams a = unpool_params(op, dx, index, source);
  a.backward = true;
  a.in = source.raw();
  a.out = dx.raw();
  a.taken = marks.as<uint8_t>();
  a.last = marks.as<int32_t>();
  if (dx.numel() > 0) launch(context_of(dy), op, a, cpu::max_unpool, FC_CUDA(max_unpool));
  return dx;
}

}  // namespace fastcnn::ops
