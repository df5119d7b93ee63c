// Winograd's minimal filtering: 3x3 convolution at stride 1 with 2.25 to 4 times fewer multiplications, at stride 2 with
// 1.44 to 1.78 times fewer. Which passes it serves, what it needs and what it costs.
#include "cpu/conv_winograd.h"

#include "cpu/conv_algos.h"

namespace fastcnn::cpu {

WinogradGrid conv_winograd_grid(const ConvProblem& p, Pass pass) {
  const int64_t(&extent)[3] = pass == Pass::backward_input ? p.in : p.out;
  const WinogradForm form = conv_winograd_form(p, pass);
  const auto axis = [&](int a) {
    const bool pairs = form == WinogradForm::stride2_gradient && extent[a] > 0;
    return WinogradAxis(form, pairs ? (extent[a] + conv_winograd_before(p, pass, a) + 1) / 2 : extent[a]);
  };
  return WinogradGrid{p.N * extent[0], axis(1), axis(2)};
}

WinogradSource conv_winograd_input(const ConvArgs& args, const float* zeros, float* prologue) {
  const ConvProblem& p = *args.problem;
  WinogradSource x{volume(args.x),
                   p.in[0],
                   {p.in[1], p.in[2]},
                   {p.pad_low[1], p.pad_low[2]},
                   p.pad_mode,
                   p.C,
                   zeros,
                   conv_winograd_form(p, Pass::forward)};
  x.relu = p.prologue.activation == Unary::relu;
  if (p.prologue.scale_shift) {
    conv_copy_vector(args.scale, p.C, prologue);
    conv_copy_vector(args.shift, p.C, prologue + p.C);
    x.scale = prologue;
    x.shift = prologue + p.C;
  }
  return x;
}

const char* conv_winograd_unsupported(const ConvProblem& p, Pass pass, const DeviceProps&) {
  if (p.dtype != DType::float32) return "float32 only";
  if (p.filter[0] != 1 || p.pad_low[0] || p.pad_high[0] || p.stride[0] != 1)
    return "one or two axes with filters only";
  if (p.filter[1] != 3 || p.filter[2] != 3) return "3x3 filters only";
  if (p.stride[1] != p.stride[2] || p.stride[1] > 2) return "stride 1 or 2 of both axes only";
  if (p.dilation[1] != 1 || p.dilation[2] != 1) return "dilation 1 only";
  if (p.G != 1) return "one group only";
  if (p.C == 0) return "at least one input channel";
  if (p.pad_mode != PadMode::zeros && pass == Pass::backward_input)
    return "zero padding only in backward_input";
  return nullptr;
}

size_t conv_winograd_workspace_bytes(const ConvProblem& p, Pass pass, const DeviceProps& props) {
  if (pass == Pass::backward_weight) return conv_winograd_weight_bytes(p, props.threads);
  return conv_winograd_product_bytes(p, pass, props.threads);
}

double conv_winograd_cost(const ConvProblem& p, Pass pass, const DeviceProps& props) {
  return conv_winograd_estimate(p, pass, props);
}

void conv_winograd_run(const ConvArgs& args, Pass pass, void*) {
  switch (pass) {
    case Pass::forward: return conv_winograd_forward(args);
    case Pass::backward_input: return conv_winograd_backward_input(args);
    default: return conv_winograd_backward_weight(args);
  }
}

}  // namespace fastcnn::cpu
