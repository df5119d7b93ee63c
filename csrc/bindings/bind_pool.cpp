// Pooling.
#include <optional>

#include "bindings/replay.h"
#include "ops/pool.h"
#include "ops/pool_fractional.h"

namespace fastcnn {

void bind_pool(py::module_& module) {
  Recorded m(module);
  using D = const Dims&;
  py::class_<PoolGeometry>(module, "PoolGeometry")
      .def(py::init([](D window, D stride, D dilation, D pad_low, D pad_high, bool ceil_mode, bool adaptive) {
        return PoolGeometry{window, stride, dilation, pad_low, pad_high, ceil_mode, adaptive};
      }));
  m.def("max_pool_forward", &ops::max_pool_forward, release_gil());
  m.def("max_pool_indices", &ops::max_pool_indices, release_gil());
  m.def("max_pool_backward", &ops::max_pool_backward, release_gil());
  m.def("max_pool_gather", &ops::max_pool_gather, release_gil());
  m.def("avg_pool_forward", &ops::avg_pool_forward, release_gil());
  m.def("avg_pool_backward", &ops::avg_pool_backward, release_gil());
  m.def("fractional_max_pool_forward", &ops::fractional_max_pool_forward, release_gil());
  m.def("fractional_max_pool_indices", &ops::fractional_max_pool_indices, release_gil());
  m.def("fractional_max_pool_backward", &ops::fractional_max_pool_backward, release_gil());
  m.def("fractional_max_pool_gather", &ops::fractional_max_pool_gather, release_gil());
  m.def("max_unpool_forward", &ops::max_unpool_forward, release_gil());
  m.def("max_unpool_backward", &ops::max_unpool_backward, release_gil());
}

}  // namespace fastcnn
