#include "ops/conv.h"

#include "common/elementwise.h"
#include "cpu/conv_algos.h"
#include "cuda/conv_algos.h"
#include "memory/op_clock.h"
#include "memory/workspace.h"

namespace fastcnn::ops {

namespace {

const std::vector<ConvAlgo>& table_of(const DeviceProps& props) {
  return props.backend == DeviceType::cuda ? cuda::conv_algos() : cpu::conv_algos();
}

// Plans, takes the workspace and runs; every output tensor exists already. An empty output needs no kernel, but a
// request that cannot be met is an error all the same: whether a call is legal does not depend on the batch.
void run(const char* op, ConvArgs& args, Pass pass, const AlgoRequest& request, const Tensor& output) {
  const Context ctx = context_of(output);
  const DeviceProps& props = ctx.props();
  const ConvPlan chosen = plan(table_of(props), *args.problem, pass, props, request);
  if (output.numel() == 0) return;
  note_op(chosen.algo->name);
  const Workspace workspace(ctx.device, chosen.workspace_bytes);
  args.workspace = workspace.data();
  args.workspace_bytes = chosen.workspace_bytes;
  args.threads = props.threads;
  if (ctx.device.is_meta()) return;
  if (!chosen.algo->run)
    fail<DeviceError>(op, ": this build has no kernel for algo='", chosen.algo->name, "' on ",
                      to_string(ctx.device));
  if (ctx.device.type == DeviceType::cuda) use_device(ctx.device);
  chosen.algo->run(args, pass, ctx.stream);
}

void check_operands(const char* op, std::initializer_list<const Tensor*> tensors) {
  check_same_device(op, tensors);
  check_same_dtype(op, tensors);
  check_float(op, **tensors.begin());
}

void check_channelwise(const char* op, const char* what, const Tensor& t, int64_t count, const char* of) {
  FC_CHECK(t.ndim() == 1 && t.shape[0] == count, op, ": ", what, " has shape ", to_string(t.shape), " (",
           t.numel(), t.numel() == 1 ? " entry" : " entries", "), expected (", count, ",): the layer has ",
           count, " ", of);
}

// "conv2d.forward". Built once per thread and combination, of which there are about a dozen: a call on a tiny
// tensor takes no longer than building the text would.
const char* scope_name(const char* op, Pass pass) {
  struct Known {
    std::string op;
    Pass pass;
    const char* text;
  };
  static thread_local std::vector<Known> known;
  for (const Known& k : known)
    if (k.pass == pass && k.op == op) return k.text;
  known.push_back({op, pass, intern(str(op, ".", name_of(pass)))});
  return known.back().text;
}

}  // namespace

Tensor conv_forward(const char* op, const Tensor& x, const Tensor& w, const ConvFusion& fusion,
                    const ConvGeometry& geometry, const AlgoRequest& request) {
  const OpScope scope(scope_name(op, Pass::forward));
  check_operands(op, {&x, &w});
  ConvProblem problem(op, x.shape, w.shape, geometry, x.dtype);
  ConvArgs args(problem);
  const auto take = [&](const MaybeTensor& t, Tensor& slot) {
    if (!t) return false;
    check_operands(op, {&x, &*t});
    slot = *t;
    return true;
  };
  problem.epilogue.bias = take(fusion.bias, args.bias);
  if (fusion.bias) check_channelwise(op, "bias", args.bias, problem.K, problem.K == 1 ? "filter" : "filters");
  problem.epilogue.residual = take(fusion.residual, args.residual);
  if (fusion.residual)
    FC_CHECK(args.residual.shape == problem.output_shape(), op, ": residual has shape ",
             to_string(args.residual.shape), ", expected the output's ", to_string(problem.output_shape()));
  problem.prologue.scale_shift = take(fusion.scale, args.scale);
  FC_CHECK(take(fusion.shift, args.shift) == problem.prologue.scale_shift, op,
           ": scale and shift come together, got only one");
  if (problem.prologue.scale_shift) {
    check_channelwise(op, "scale", args.scale, problem.C, "input channels");
    check_channelwise(op, "shift", args.shift, problem.C, "input channels");
  }
  problem.prologue.activation = fusion.prologue_activation;
  problem.epilogue.activation = fusion.epilogue_activation;
  for (Unary a : {fusion.prologue_activation, fusion.epilogue_activation})
    FC_CHECK(a == Unary::copy || a == Unary::relu, op, ": cannot fuse ", name_of(a), ", expected relu");
  args.x = x;
  args.w = w;
  args.y = empty_channels_last(problem.output_shape(), x.dtype, x.device());
  run(op, args, Pass::forward, request, args.y);
  return args.y;
}

Tensor conv_backward_input(const char* op, const Dims& x_shape, const Tensor& w, const Tensor& dy,
                           const ConvGeometry& geometry, const AlgoRequest& request) {
  const OpScope scope(scope_name(op, Pass::backward_input));
  check_operands(op, {&w, &dy});
  const ConvProblem problem(op, x_shape, w.shape, geometry, w.dtype);
  FC_CHECK(dy.shape == problem.output_shape(), op, ": grad_output has shape ", to_string(dy.shape),
           ", expected ", to_string(problem.output_shape()), " for input ", to_string(x_shape));
  ConvArgs args(problem);
  args.w = w;
  args.y = dy;
  args.x = empty_channels_last(x_shape, w.dtype, w.device());
  run(op, args, Pass::backward_input, request, args.x);
  return args.x;
}

Tensor conv_backward_weight(const char* op, const Tensor& x, const Dims& w_shape, const Tensor& dy,
                            const ConvGeometry& geometry, const AlgoRequest& request) {
  const OpScope scope(scope_name(op, Pass::backward_weight));
  check_operands(op, {&x, &dy});
  const ConvProblem problem(op, x.shape, w_shape, geometry, x.dtype);
  FC_CHECK(dy.shape == problem.output_shape(), op, ": grad_output has shape ", to_string(dy.shape),
           ", expected ", to_string(problem.output_shape()), " for input ", to_string(x.shape));
  ConvArgs args(problem);
  args.x = x;
  args.y = dy;
  args.w = empty(w_shape, x.dtype, x.device());
  run(op, args, Pass::backward_weight, request, args.w);
  return args.w;
}

ConvGradients conv_backward(const char* op, const Tensor& x, const Tensor& w, const Tensor& dy,
                            const ConvGeometry& geometry, const AlgoRequest& input_request,
                            const AlgoRequest& weight_request, bool want_dx, bool want_dw) {
  ConvGradients out;
  if (want_dx) out.dx = conv_backward_input(op, x.shape, w, dy, geometry, input_request);
  if (want_dw) out.dw = conv_backward_weight(op, x, w.shape, dy, geometry, weight_request);
  return out;
}

std::vector<ConvRow> conv_rows(const Dims& x_shape, const Dims& w_shape, const ConvGeometry& geometry,
                               Pass pass, DType dtype, Device device, const AlgoRequest& request, bool bias) {
  FC_CHECK_TYPE(is_float(dtype), "conv_algorithms: got dtype ", name_of(dtype), ", expected a float dtype");
  ConvProblem problem("conv_algorithms", x_shape, w_shape, geometry, dtype);
  problem.epilogue.bias = bias && pass == Pass::forward;
  std::vector<ConvRow> rows;
  const DeviceProps& props = device_props(device);
  plan(table_of(props), problem, pass, props, request, &rows);
  return rows;
}

}  // namespace fastcnn::ops
