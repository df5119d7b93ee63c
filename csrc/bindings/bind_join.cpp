// Putting tensors together.
#include "bindings/replay.h"
#include "ops/join.h"

namespace fastcnn {

void bind_join(py::module_& module) {
  Recorded m(module);
  m.def("cat", &ops::cat, release_gil());
}

}  // namespace fastcnn
