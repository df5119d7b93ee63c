// Normalisations. Forward returns (y, stats), backward (dx, dweight, dbias, dresidual).
#include <optional>
#include <tuple>

#include "bindings/replay.h"
#include "ops/norm.h"

namespace fastcnn {

namespace {
// The structs' fields by value: Python must own each tensor.
template <class... Args>
auto outputs(ops::NormOutput (*f)(Args...)) {
  return [f](Args... args) {
    ops::NormOutput out = f(args...);
    return std::make_tuple(std::move(out.y), std::move(out.stats));
  };
}
template <class... Args>
auto gradients(ops::NormGradients (*f)(Args...)) {
  return [f](Args... args) {
    ops::NormGradients out = f(args...);
    return std::make_tuple(std::move(out.dx), std::move(out.dweight), std::move(out.dbias),
                           std::move(out.dresidual));
  };
}
}  // namespace

void bind_norm(py::module_& module) {
  Recorded m(module);
  m.def("batch_norm_forward", outputs(&ops::batch_norm_forward), release_gil());
  m.def("batch_norm_backward", gradients(&ops::batch_norm_backward), release_gil());
  m.def("group_norm_forward", outputs(&ops::group_norm_forward), release_gil());
  m.def("group_norm_backward", gradients(&ops::group_norm_backward), release_gil());
  m.def("row_norm_forward", outputs(&ops::row_norm_forward), release_gil());
  m.def("row_norm_backward", gradients(&ops::row_norm_backward), release_gil());
  m.def("local_response_norm_forward", &ops::local_response_norm_forward, release_gil());
  m.def("local_response_norm_backward", &ops::local_response_norm_backward, release_gil());
}

}  // namespace fastcnn
