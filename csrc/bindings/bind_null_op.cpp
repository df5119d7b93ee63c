#include "bindings/replay.h"
#include "ops/null_op.h"

namespace fastcnn {

void bind_null_op(py::module_& module) {
  Recorded m(module);
  m.def("null_op", &ops::null_op, release_gil());
}

}  // namespace fastcnn
