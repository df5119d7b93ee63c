// Softmax and losses.
#include <optional>

#include "bindings/replay.h"
#include "ops/loss.h"

namespace fastcnn {

void bind_loss(py::module_& module) {
  Recorded m(module);
  using T = const Tensor&;
  py::class_<ops::CrossEntropyOptions>(module, "CrossEntropyOptions")
      .def(py::init([](std::optional<Tensor> weight, int64_t ignore_index, const std::string& reduction,
                       double smoothing, bool log_probabilities) {
        const char* op = log_probabilities ? "nll_loss" : "cross_entropy";
        if (weight) refuse_reading(op, *weight);  // no argument of the op: a step would not see it
        return ops::CrossEntropyOptions{std::move(weight), ignore_index, ops::parse_reduction(op, reduction),
                                        smoothing, log_probabilities};
      }));
  m.def(
      "cross_entropy_forward",
      [](T x, T target, const ops::CrossEntropyOptions& options) {
        ops::CrossEntropyOutput out = ops::cross_entropy_forward(x, target, options);
        return std::make_pair(std::move(out.loss), std::move(out.saved));
      },
      release_gil());
  m.def("cross_entropy_backward", &ops::cross_entropy_backward, release_gil());
  m.def("softmax_forward", &ops::softmax_forward, release_gil());
  m.def("softmax_backward", &ops::softmax_backward, release_gil());
  py::class_<ops::PointwiseLossOptions>(module, "PointwiseLossOptions")
      .def(py::init([](const char* op, const std::string& kind, const std::string& reduction, double p0,
                       double p1, bool batch_mean, std::optional<Tensor> weight,
                       std::optional<Tensor> pos_weight) {
        for (const auto* w : {&weight, &pos_weight})
          if (*w) refuse_reading(op, **w);
        return ops::PointwiseLossOptions{
            ops::parse_loss(kind), ops::parse_reduction(op, reduction), p0, p1, batch_mean, std::move(weight),
            std::move(pos_weight)};
      }));
  m.def("pointwise_loss_forward", &ops::pointwise_loss_forward, release_gil());
  m.def("pointwise_loss_backward", &ops::pointwise_loss_backward, release_gil());
}

}  // namespace fastcnn
