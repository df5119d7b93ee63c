// Putting tensors together.
#include "bindings/casters.h"
#include "ops/join.h"

namespace fastcnn {

void bind_join(py::module_& m) { m.def("cat", &ops::cat, release_gil()); }

}  // namespace fastcnn
