#include "ops/conv.h"

#include <utility>

#include "common/elementwise.h"
#include "common/norm_fold.h"
#include "cpu/conv_algos.h"
#include "cpu/norm_fold.h"
#include "cuda/conv_algos.h"
#include "cuda/norm_fold.h"
#include "memory/op_clock.h"
#include "memory/workspace.h"
#include "ops/conv_parts.h"

namespace fastcnn::ops {

namespace {

thread_local bool keeps_filters = true;

// Plans, takes the workspace and runs; every output tensor exists already. An empty output needs no kernel, but a
// request that cannot be met is an error all the same: whether a call is legal does not depend on the batch.
// `fold` is a kernel to be run before.
void run(const char* op, ConvArgs& args, Pass pass, const AlgoRequest& request, const Tensor& output,
         const NormFoldParams* fold = nullptr) {
  const Context ctx = context_of(output);
  const DeviceProps& props = ctx.props();
  const ConvPlan chosen = plan(conv_table(props), *args.problem, pass, props, request);
  if (output.numel() == 0) return;
  note_op(chosen.algo->name);
  // The plan is the same where others may write to the filters unseen; only, nothing is kept then.
  const bool keep = chosen.filters.bytes > 0 && may_keep(args.w);
  KeptUse filters =
      keep ? KeptUse(args.w, {chosen.algo->name, props.isa, chosen.filters.layout, chosen.filters.bytes})
           : KeptUse();
  args.workspace_bytes = chosen.workspace_bytes - (keep ? chosen.filters.bytes : 0);
  const Workspace workspace(ctx.device, args.workspace_bytes);
  args.workspace = workspace.data();
  args.threads = props.threads;
  if (ctx.device.is_meta()) return filters.done();
  if (!chosen.algo->run)
    fail<DeviceError>(op, ": this build has no kernel for algo='", chosen.algo->name, "' on ",
                      to_string(ctx.device));
  if (ctx.device.type == DeviceType::cuda) use_device(ctx.device);
  if (fold) launch(ctx, op, *fold, cpu::norm_fold, FC_CUDA(norm_fold));
  args.filters = filters.data();
  args.filters_filled = filters.filled();
  chosen.algo->run(args, pass, ctx.stream);
  filters.done();
}

void check_channelwise(const char* op, const char* what, const Tensor& t, int64_t count, const char* of) {
  FC_CHECK(t.ndim() == 1 && t.shape[0] == count, op, ": ", what, " has shape ", to_string(t.shape), " (",
           t.numel(), t.numel() == 1 ? " entry" : " entries", "), expected (", count, ",): the layer has ",
           count, " ", of);
}

}  // namespace

const std::vector<ConvAlgo>& conv_table(const DeviceProps& props) {
  return props.backend == DeviceType::cuda ? cuda::conv_algos() : cpu::conv_algos();
}

bool conv_keeps_filters() { return keeps_filters; }

void check_conv_operands(const char* op, std::initializer_list<const Tensor*> tensors) {
  check_same_device(op, tensors);
  check_same_dtype(op, tensors);
  check_float(op, **tensors.begin());
}

NormFoldParams conv_norm_fold(const char* op, const ConvNorm& norm, const MaybeTensor& before,
                              const Tensor& folded) {
  const int64_t channels = folded.shape[1];
  NormFoldParams p{};
  const auto vector = [&](const char* what, const Tensor& t) {
    check_conv_operands(op, {&folded, &t});
    check_channelwise(op, what, t, channels, "filters");
    return NormFoldParams::Vector{t.raw(), t.strides[0]};
  };
  p.dtype = folded.dtype;
  p.channels = channels;
  p.mean = vector("the norm's mean", norm.mean);
  p.var = vector("the norm's variance", norm.var);
  if (norm.weight) p.weight = vector("the norm's weight", *norm.weight);
  if (norm.bias) p.bias = vector("the norm's bias", *norm.bias);
  if (before) p.before = {before->raw(), before->strides[0]};
  p.eps = norm.eps;
  p.scale = folded.raw();
  p.shift = folded.select(0, 1).raw();
  return p;
}

// "conv2d.forward". Built once per thread and combination, of which there are about a dozen: a call on a tiny
// tensor takes no longer than building the text would.
const char* conv_scope_name(const char* op, Pass pass) {
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

namespace {

bool take(const char* op, const Tensor& x, const MaybeTensor& t, Tensor& slot) {
  if (!t) return false;
  check_conv_operands(op, {&x, &*t});
  slot = *t;
  return true;
}

// What is applied to the input on load.
void take_prologue(const char* op, const Tensor& x, const ConvFusion& fusion, ConvProblem& problem,
                   ConvArgs& args) {
  problem.prologue.scale_shift = take(op, x, fusion.scale, args.scale);
  FC_CHECK(take(op, x, fusion.shift, args.shift) == problem.prologue.scale_shift, op,
           ": scale and shift come together, got only one");
  if (problem.prologue.scale_shift) {
    check_channelwise(op, "scale", args.scale, problem.C, "input channels");
    check_channelwise(op, "shift", args.shift, problem.C, "input channels");
  }
  const Unary before = problem.prologue.activation = fusion.prologue_activation;
  FC_CHECK(before == Unary::copy || before == Unary::relu, op, ": cannot fuse ", name_of(before),
           " in front, expected relu");
}

}  // namespace

bool set_keeps_filters(bool keeps) { return std::exchange(keeps_filters, keeps); }

Tensor conv_forward(const char* op, const Tensor& x, const Tensor& w, const ConvFusion& fusion,
                    const ConvGeometry& geometry, const AlgoRequest& request, bool reuse) {
  const OpScope scope(conv_scope_name(op, Pass::forward));
  check_conv_operands(op, {&x, &w});
  reuse = reuse && keeps_filters;
  if (!reuse && keeps_filters && w.storage->keeps.load(std::memory_order_relaxed)) forget_kept(*w.storage);
  ConvProblem problem(op, x.shape, w.shape, geometry, x.dtype);
  ConvArgs args(problem);
  problem.epilogue.bias = take(op, x, fusion.bias, args.bias);
  if (fusion.bias) check_channelwise(op, "bias", args.bias, problem.K, problem.K == 1 ? "filter" : "filters");
  problem.epilogue.residual = take(op, x, fusion.residual, args.residual);
  if (fusion.residual)
    FC_CHECK(args.residual.shape == problem.output_shape(), op, ": residual has shape ",
             to_string(args.residual.shape), ", expected the output's ", to_string(problem.output_shape()));
  take_prologue(op, x, fusion, problem, args);
  problem.epilogue.activation = fusion.epilogue_activation;
  const Unary after = fusion.epilogue_activation;
  FC_CHECK(after == Unary::copy || after == Unary::relu || after == Unary::relu6, op, ": cannot fuse ",
           name_of(after), ", expected relu or relu6");
  problem.reuses_filters = reuse;
  args.x = x;
  args.w = w;
  args.y = empty_channels_last(problem.output_shape(), x.dtype, x.device());
  if (!fusion.norm) {
    run(op, args, Pass::forward, request, args.y);
    return args.y;
  }
  const Tensor folded = empty({2, problem.K}, x.dtype, x.device(), Category::workspace);
  const NormFoldParams fold = conv_norm_fold(op, *fusion.norm, fusion.bias, folded);
  problem.epilogue.scale = problem.epilogue.bias = true;
  args.filter_scale = folded.select(0, 0);
  args.bias = folded.select(0, 1);
  run(op, args, Pass::forward, request, args.y, &fold);
  return args.y;
}

Tensor conv_backward_input(const char* op, const Dims& x_shape, const Tensor& w, const Tensor& dy,
                           const ConvGeometry& geometry, const AlgoRequest& request) {
  const OpScope scope(conv_scope_name(op, Pass::backward_input));
  check_conv_operands(op, {&w, &dy});
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
                            const ConvGeometry& geometry, const AlgoRequest& request,
                            const ConvFusion& fusion) {
  const OpScope scope(conv_scope_name(op, Pass::backward_weight));
  check_conv_operands(op, {&x, &dy});
  ConvProblem problem(op, x.shape, w_shape, geometry, x.dtype);
  FC_CHECK(dy.shape == problem.output_shape(), op, ": grad_output has shape ", to_string(dy.shape),
           ", expected ", to_string(problem.output_shape()), " for input ", to_string(x.shape));
  ConvArgs args(problem);
  take_prologue(op, x, fusion, problem, args);
  args.x = x;
  args.y = dy;
  args.w = empty(w_shape, x.dtype, x.device());
  run(op, args, Pass::backward_weight, request, args.w);
  return args.w;
}

ConvGradients conv_backward(const char* op, const Tensor& x, const Tensor& w, const Tensor& dy,
                            const ConvGeometry& geometry, const AlgoRequest& input_request,
                            const AlgoRequest& weight_request, bool want_dx, bool want_dw) {
  ConvGradients out;  // dx last: the op that comes next reads it, from a cache if it can
  if (want_dw) out.dw = conv_backward_weight(op, x, w.shape, dy, geometry, weight_request);
  if (want_dx) out.dx = conv_backward_input(op, x.shape, w, dy, geometry, input_request);
  return out;
}

std::vector<ConvRow> conv_rows(const Dims& x_shape, const Dims& w_shape, const ConvGeometry& geometry,
                               Pass pass, DType dtype, Device device, const AlgoRequest& request, bool bias,
                               bool reuse) {
  FC_CHECK_TYPE(is_float(dtype), "conv_algorithms: got dtype ", name_of(dtype), ", expected a float dtype");
  ConvProblem problem("conv_algorithms", x_shape, w_shape, geometry, dtype);
  problem.epilogue.bias = bias && pass == Pass::forward;
  problem.reuses_filters = reuse && pass == Pass::forward;
  std::vector<ConvRow> rows;
  const DeviceProps& props = device_props(device);
  plan(conv_table(props), problem, pass, props, request, &rows);
  return rows;
}

}  // namespace fastcnn::ops
