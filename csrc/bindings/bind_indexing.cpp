// Indexing, sorting, running sums, sequences.
#include "bindings/replay.h"
#include "ops/indexing.h"
#include "ops/scan.h"

namespace fastcnn {

void bind_indexing(py::module_& module) {
  Recorded m(module);
  m.def("index_get", &ops::index_get, release_gil());
  m.def("index_put_", &ops::index_put_, release_gil());
  m.def("gather", &ops::gather, release_gil());
  m.def("scatter_", &ops::scatter_, release_gil());
  module.def(
      "nonzero",
      [](const char* op, const Tensor& x) {
        refuse_reading(op, x);  // Python goes by the shape
        return ops::nonzero(op, x);
      },
      release_gil());
  m.def("sort", &ops::sort, release_gil());
  m.def("cumsum", &ops::cumsum, release_gil());
  m.def("arange", &ops::arange, release_gil());
  m.def("shares_memory", [](const Tensor& a, const Tensor& b) { return a.storage == b.storage; });
  m.def("linspace", &ops::linspace, release_gil());
}

}  // namespace fastcnn
