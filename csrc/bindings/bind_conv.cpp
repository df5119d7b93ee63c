// Convolution. Geometry and request travel as plain tuples: Python has normalised their forms.
#include <optional>

#include "bindings/replay.h"
#include "common/elementwise.h"
#include "ops/conv_pair.h"

namespace fastcnn {

namespace {
using T = const Tensor&;
using D = const Dims&;

using Norm = std::tuple<Tensor, Tensor, std::optional<Tensor>, std::optional<Tensor>, double>;
using Stage = std::tuple<Tensor, std::optional<Tensor>, Norm, std::string, ConvGeometry, AlgoRequest>;

ops::ConvNorm norm_of(const Norm& norm) {
  return std::apply([](const auto&... parts) { return ops::ConvNorm{parts...}; }, norm);
}
ops::ConvStage stage_of(const Stage& s) {
  return {std::get<0>(s),
          std::get<1>(s),
          norm_of(std::get<2>(s)),
          parse_unary(std::get<3>(s)),
          std::get<ConvGeometry>(s),
          std::get<AlgoRequest>(s)};
}

AlgoRequest request(const std::string& name, bool strict, std::optional<size_t> limit, double error_limit) {
  return AlgoRequest{name, strict, limit.value_or(kNoLimit), error_limit};
}
Pass parse_pass(const std::string& name) {
  for (Pass pass : {Pass::forward, Pass::backward_input, Pass::backward_weight})
    if (name == name_of(pass)) return pass;
  fail<ValueError>("conv: pass is '", name, "', expected forward, backward_input or backward_weight");
}
}  // namespace

void bind_conv(py::module_& module) {
  Recorded m(module);
  py::class_<ConvGeometry>(module, "ConvGeometry")
      .def(py::init([](D stride, D dilation, D pad_low, D pad_high, int64_t groups, const std::string& mode) {
        return ConvGeometry{stride, dilation, pad_low, pad_high, groups, parse_pad_mode(mode)};
      }));
  py::class_<AlgoRequest>(module, "AlgoRequest")
      .def(py::init(&request), py::arg("name"), py::arg("strict"), py::arg("workspace_limit"),
           py::arg("error_limit") = AlgoRequest{}.error_limit);
  m.def(
      "conv_forward",
      [](const char* op, T x, T w, std::optional<Tensor> bias, const ConvGeometry& g, const AlgoRequest& r,
         bool reuse) {
        ops::ConvFusion fusion;
        fusion.bias = std::move(bias);
        return ops::conv_forward(op, x, w, fusion, g, r, reuse);
      },
      release_gil(), py::arg("op"), py::arg("x"), py::arg("w"), py::arg("bias"), py::arg("geometry"),
      py::arg("request"), py::arg("reuse") = false);
  // conv_forward with reuse, or None where the call is to be recorded (for a gradient or a replay), is that of a single
  // image, or has no tensors.
  module.def(
      "conv_forward_unrecorded",
      [](const char* op, py::handle x, py::handle w, py::handle bias, const ConvGeometry& g,
         const AlgoRequest& r) -> std::optional<Tensor> {
        if (recorded_program()) return std::nullopt;
        const Tensor *input = tensor_in(x.ptr()), *weight = tensor_in(w.ptr());
        if (!input || !weight || input->ndim() != weight->ndim()) return std::nullopt;
        const Tensor* shift = bias.is_none() ? nullptr : tensor_in(bias.ptr());
        if (!shift && !bias.is_none()) return std::nullopt;
        if (recording() && (input->requires_grad || weight->requires_grad || (shift && shift->requires_grad)))
          return std::nullopt;
        const py::gil_scoped_release release;
        ops::ConvFusion fusion;
        if (shift) fusion.bias = *shift;
        return ops::conv_forward(op, *input, *weight, fusion, g, r, true);
      });
  m.def(
      "conv_forward_fused",
      [](const char* op, T x, T w, std::optional<Tensor> bias, std::optional<Tensor> residual,
         std::optional<Tensor> scale, std::optional<Tensor> shift, const std::string& before,
         const std::string& after, const ConvGeometry& g, const AlgoRequest& r) {
        return ops::conv_forward(
            op, x, w, {bias, residual, scale, shift, parse_unary(before), parse_unary(after)}, g, r);
      },
      release_gil());
  // `norm` is batch norm by given statistics: (mean, var, weight or None, bias or None, eps), or None.
  m.def(
      "conv_forward_tail",
      [](const char* op, T x, T w, std::optional<Tensor> bias, const std::optional<Norm>& norm,
         std::optional<Tensor> residual, const std::string& activation, const ConvGeometry& g,
         const AlgoRequest& r, bool reuse) {
        ops::ConvFusion fusion;
        fusion.bias = std::move(bias);
        fusion.residual = std::move(residual);
        if (norm) fusion.norm = norm_of(*norm);
        fusion.epilogue_activation = parse_unary(activation);
        return ops::conv_forward(op, x, w, fusion, g, r, reuse);
      },
      release_gil());
  // Each stage is (weight, bias or None, norm, activation, geometry, request).
  m.def(
      "conv_expand_depthwise",
      [](const char* op, T x, const Stage& expand, const Stage& depthwise) {
        return ops::conv_expand_depthwise(op, x, stage_of(expand), stage_of(depthwise));
      },
      release_gil());
  m.def("conv_backward_input", &ops::conv_backward_input, release_gil());
  m.def(
      "conv_backward_weight",
      [](const char* op, T x, const Dims& w_shape, T dy, const ConvGeometry& g, const AlgoRequest& r) {
        return ops::conv_backward_weight(op, x, w_shape, dy, g, r);
      },
      release_gil());
  // Of x * scale + shift, or of relu of that, which is computed on load.
  m.def(
      "conv_backward_weight_fused",
      [](const char* op, T x, const Dims& w_shape, T dy, Tensor scale, Tensor shift,
         const std::string& before, const ConvGeometry& g, const AlgoRequest& r) {
        ops::ConvFusion fusion;
        fusion.scale = std::move(scale);
        fusion.shift = std::move(shift);
        fusion.prologue_activation = parse_unary(before);
        return ops::conv_backward_weight(op, x, w_shape, dy, g, r, fusion);
      },
      release_gil());
  m.def(
      "conv_backward",
      [](const char* op, T x, T w, T dy, const ConvGeometry& g, const AlgoRequest& rx, const AlgoRequest& rw,
         bool dx, bool dw) {
        ops::ConvGradients out = ops::conv_backward(op, x, w, dy, g, rx, rw, dx, dw);
        return std::make_pair(std::move(out.dx), std::move(out.dw));
      },
      release_gil());
  module.def("set_keeps_filters", &ops::set_keeps_filters);
  module.def("conv_output_extent", &conv_output_extent);
  module.def("named_padding",
             [](const std::string& name, int64_t in, int64_t filter, int64_t stride, int64_t dilation) {
               int64_t low, high;
               named_padding(name, in, filter, stride, dilation, low, high);
               return std::make_pair(low, high);
             });
  module.def(
      "conv_rows",
      [](D x, D w, const ConvGeometry& g, const std::string& pass, DType dtype, Device device,
         const AlgoRequest& r, bool bias, bool reuse) {
        py::list out;
        for (const ConvRow& row : ops::conv_rows(x, w, g, parse_pass(pass), dtype, device, r, bias, reuse))
          out.append(py::make_tuple(
              row.name, row.reason.empty() ? py::object(py::none()) : py::object(py::str(row.reason)),
              row.workspace_bytes, row.cost, row.chosen));
        return out;
      },
      py::arg("x_shape"), py::arg("w_shape"), py::arg("geometry"), py::arg("pass_"), py::arg("dtype"),
      py::arg("device"), py::arg("request"), py::arg("bias") = false, py::arg("reuse") = false);
}

}  // namespace fastcnn
