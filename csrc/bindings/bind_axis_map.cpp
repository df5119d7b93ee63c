// Sparse maps along an axis: interpolation and padding.
#include "bindings/replay.h"
#include "ops/axis_map.h"

namespace fastcnn {

void bind_axis_map(py::module_& module) {
  Recorded m(module);
  py::class_<AxisMap>(module, "AxisMap")
      .def(py::init(
          [](int64_t in, std::vector<int64_t> begin, std::vector<int64_t> index, std::vector<double> weight) {
            return AxisMap(in, {std::move(begin), std::move(index), std::move(weight)});
          }))
      .def_property_readonly("size", [](const AxisMap& map) { return std::make_pair(map.in(), map.out()); });
  m.def("axis_map", &ops::axis_map, release_gil());
}

}  // namespace fastcnn
