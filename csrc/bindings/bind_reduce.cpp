// Reductions. Ops are passed by number: _core.REDUCE["sum"].
#include "bindings/replay.h"
#include "ops/reduce.h"

namespace fastcnn {

namespace {
Reduce reduce_op(int op) {
  FC_CHECK(op >= 0 && op < int(Reduce::count), "reduce: no op number ", op);
  return Reduce(op);
}
}  // namespace

void bind_reduce(py::module_& module) {
  Recorded m(module);
  py::dict numbers;
  for (int i = 0; i < int(Reduce::count); ++i) numbers[name_of(Reduce(i))] = i;
  module.attr("REDUCE") = numbers;
  m.def(
      "reduce",
      [](int op, const Tensor& x, const Dims& axes, bool keepdim, double divisor) {
        return ops::reduce(reduce_op(op), x, axes, keepdim, divisor);
      },
      py::arg("op"), py::arg("x"), py::arg("axes"), py::arg("keepdim") = false, py::arg("divisor") = 1.0,
      release_gil());
  m.def(
      "reduce_arg",
      [](int op, const Tensor& x, int64_t axis, bool keepdim) {
        return ops::reduce_arg(reduce_op(op), x, axis, keepdim);
      },
      release_gil());
}

}  // namespace fastcnn
