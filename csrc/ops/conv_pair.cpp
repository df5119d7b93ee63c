#include "ops/conv_pair.h"

#include <cstring>

#include "cpu/conv_patches.h"
#include "cpu/expand_depthwise.h"
#include "cpu/norm_fold.h"
#include "memory/op_clock.h"
#include "memory/workspace.h"
#include "ops/conv_parts.h"

namespace fastcnn::ops {

namespace {

Tensor forward(const char* op, const Tensor& x, const ConvStage& s) {
  return conv_forward(op, x, s.w,
                      {s.bias, std::nullopt, std::nullopt, std::nullopt, Unary::copy, s.activation, s.norm},
                      s.geometry, s.request, true);
}

ConvProblem problem_of(const char* op, const Dims& x, const ConvStage& s, DType dtype) {
  ConvProblem p(op, x, s.w.shape, s.geometry, dtype);
  p.epilogue.scale = p.epilogue.bias = true;
  p.epilogue.activation = s.activation;
  p.reuses_filters = conv_keeps_filters();
  return p;
}

/// Whether the row is the one that the pass over both takes its filters and its bits from.
bool takes(const ConvProblem& p, const ConvStage& s, const DeviceProps& props, const char* row,
           ConvPlan* chosen) {
  if (s.request.workspace_limit != kNoLimit) return false;  // counted per convolution
  *chosen = plan(conv_table(props), p, Pass::forward, props, s.request);
  return std::strcmp(chosen->algo->name, row) == 0 && chosen->algo->run;
}

/// What a stage needs beside its tensors: the folded norm, and filters that are kept or of this call alone.
class StageMemory {
 public:
  StageMemory(const char* op, const ConvStage& s, const ConvProblem& p, const ConvPlan& chosen,
              const DeviceProps& props, Device device)
      : folded_(empty({2, p.K}, p.dtype, device, Category::workspace)),
        fold_(conv_norm_fold(op, s.norm, s.bias, folded_)),
        filters_(chosen.algo->filters(p, Pass::forward)),
        keeps_(conv_keeps_filters() && may_keep(s.w)),
        kept_(keeps_ ? KeptUse(s.w, {chosen.algo->name, props.isa, filters_.layout, filters_.bytes})
                     : KeptUse()),
        own_(device, keeps_ ? 0 : filters_.bytes) {}

  /// Folds the norm; `args` then say where everything lies.
  void prepare(const char* op, const Context& ctx, ConvArgs& args) {
    launch(ctx, op, fold_, cpu::norm_fold);
    args.filter_scale = folded_.select(0, 0);
    args.bias = folded_.select(0, 1);
    args.filters = keeps_ ? kept_.data() : own_.data();
    args.filters_filled = keeps_ && kept_.filled();
  }
  void done() { kept_.done(); }

 private:
  const Tensor folded_;
  const NormFoldParams fold_;
  const ConvFilters filters_;
  const bool keeps_;
  KeptUse kept_;
  const Workspace own_;
};

}  // namespace

Tensor conv_expand_depthwise(const char* op, const Tensor& x, const ConvStage& expand,
                             const ConvStage& depthwise) {
  const Context ctx = context_of(x);
  const DeviceProps& props = ctx.props();
  const ConvProblem wide = problem_of(op, x.shape, expand, x.dtype),
                    narrow = problem_of(op, wide.output_shape(), depthwise, x.dtype);
  ConvPlan first, second;
  const bool together = props.backend == DeviceType::cpu && x.is_channels_last() && x.numel() > 0 &&
                        !cpu::expand_depthwise_unsupported(wide, narrow) &&
                        takes(wide, expand, props, "im2col", &first) &&
                        takes(narrow, depthwise, props, "depthwise", &second) &&
                        first.algo->filters(wide, Pass::forward).layout == 0;
  if (!together) return forward(op, forward(op, x, expand), depthwise);

  const OpScope scope(conv_scope_name(op, Pass::forward));
  check_conv_operands(op, {&x, &expand.w, &depthwise.w});
  for (const ConvStage* s : {&expand, &depthwise})
    if (s->bias) check_conv_operands(op, {&x, &*s->bias});
  note_op("expand+depthwise");
  ConvArgs a(wide), b(narrow);
  b.y = empty_channels_last(narrow.output_shape(), x.dtype, ctx.device);
  StageMemory memory_a(op, expand, wide, first, props, ctx.device),
      memory_b(op, depthwise, narrow, second, props, ctx.device);
  b.threads = props.threads;
  b.workspace_bytes = cpu::expand_depthwise_workspace_bytes(wide, narrow, b.threads);
  const Workspace scratch(ctx.device, b.workspace_bytes);
  if (!ctx.device.is_meta()) {
    a.x = x;
    a.w = expand.w;
    b.w = depthwise.w;
    b.workspace = scratch.data();
    memory_a.prepare(op, ctx, a);
    memory_b.prepare(op, ctx, b);
    cpu::expand_depthwise(a, b);
  }
  memory_a.done();
  memory_b.done();
  return b.y;
}

}  // namespace fastcnn::ops
