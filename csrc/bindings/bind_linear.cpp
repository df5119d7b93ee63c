// Matrix products.
#include <optional>

#include "bindings/casters.h"
#include "ops/linear.h"

namespace fastcnn {

void bind_linear(py::module_& m) {
  m.def("matmul", &ops::matmul, release_gil());
  m.def("linear", &ops::linear, release_gil());
}

}  // namespace fastcnn
