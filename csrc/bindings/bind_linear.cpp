// Matrix products.
#include <optional>

#include "bindings/replay.h"
#include "ops/linear.h"

namespace fastcnn {

void bind_linear(py::module_& module) {
  Recorded m(module);
  m.def("matmul", &ops::matmul, release_gil());
  m.def("linear", &ops::linear, release_gil());
}

}  // namespace fastcnn
