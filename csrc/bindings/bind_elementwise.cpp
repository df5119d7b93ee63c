// Pointwise ops, copies and fresh tensors. Ops are passed by number: _core.UNARY["relu"].
#include "bindings/replay.h"
#include "ops/activation_mask.h"
#include "ops/elementwise.h"
#include "ops/transfer.h"

namespace fastcnn {

namespace {
template <class Op>
py::dict numbers() {
  py::dict out;
  for (int i = 0; i < int(Op::count); ++i) out[name_of(Op(i))] = i;
  return out;
}
Unary unary_op(int op) {
  FC_CHECK(op >= 0 && op < int(Unary::count), "unary: no op number ", op);
  return Unary(op);
}
Binary binary_op(int op) {
  FC_CHECK(op >= 0 && op < int(Binary::count), "binary: no op number ", op);
  return Binary(op);
}
Category category_of(int c) {
  FC_CHECK(c >= 0 && c < kCategories, "memory: no category number ", c);
  return Category(c);
}
}  // namespace

void bind_elementwise(py::module_& module) {
  Recorded m(module);
  module.attr("UNARY") = numbers<Unary>();
  module.attr("BINARY") = numbers<Binary>();
  py::dict categories;
  for (int i = 0; i < kCategories; ++i) categories[name_of(Category(i))] = i;
  module.attr("CATEGORY") = categories;

  using T = const Tensor&;
  m.def(
      "unary", [](int op, T x, double p0, double p1) { return ops::unary(unary_op(op), x, p0, p1); },
      py::arg("op"), py::arg("x"), py::arg("p0") = 0.0, py::arg("p1") = 0.0, release_gil());
  m.def(
      "unary_", [](int op, T x, double p0, double p1) { ops::unary_(unary_op(op), x, p0, p1); },
      py::arg("op"), py::arg("x"), py::arg("p0") = 0.0, py::arg("p1") = 0.0, release_gil());
  m.def(
      "binary",
      [](int op, T a, T b, double p0, double p1) { return ops::binary(binary_op(op), a, b, p0, p1); },
      py::arg("op"), py::arg("a"), py::arg("b"), py::arg("p0") = 0.0, py::arg("p1") = 0.0, release_gil());
  m.def(
      "binary_", [](int op, T a, T b, double p0, double p1) { ops::binary_(binary_op(op), a, b, p0, p1); },
      py::arg("op"), py::arg("a"), py::arg("b"), py::arg("p0") = 0.0, py::arg("p1") = 0.0, release_gil());
  m.def(
      "binary_scalar",
      [](int op, T x, double s, bool reversed) { return ops::binary_scalar(binary_op(op), x, s, reversed); },
      py::arg("op"), py::arg("x"), py::arg("scalar"), py::arg("reversed") = false, release_gil());
  m.def("where", &ops::where, release_gil());
  py::class_<ops::ActivationMask, std::shared_ptr<ops::ActivationMask>>(module, "ActivationMask")
      .def(py::init([](int op, T y, double p0, double p1) {
             return ops::ActivationMask::make(binary_op(op), y, p0, p1);
           }),
           py::arg("op"), py::arg("y"), py::arg("p0") = 0.0, py::arg("p1") = 0.0)
      .def("output", &ops::ActivationMask::output)
      .def("backward", &ops::ActivationMask::backward, py::arg("dy"), py::arg("over_dy") = false,
           release_gil());
  m.def("copy_", &ops::copy_, py::arg("target"), py::arg("source"), py::arg("non_blocking") = false,
        release_gil());
  m.def(
      "to",
      [](T x, DType dtype, Device device, bool keep_order, int category, bool non_blocking) {
        return ops::to(x, dtype, device, keep_order, category_of(category), non_blocking);
      },
      py::arg("x"), py::arg("dtype"), py::arg("device"), py::arg("keep_order"), py::arg("category"),
      py::arg("non_blocking") = false, release_gil());
  m.def("pin_memory", &ops::pin_memory, release_gil());
  m.def("is_pinned", &ops::is_pinned);
  m.def("contiguous", &ops::contiguous, release_gil());
  m.def("fill_", &ops::fill_, release_gil());
  m.def("empty", [](const Dims& shape, DType dtype, Device device, int category) {
    return ops::empty(shape, dtype, device, category_of(category));
  });
  m.def("empty_pinned", [](const Dims& shape, DType dtype) {
    return ops::empty_pinned(shape, contiguous_strides(shape), dtype);
  });
  m.def("empty_channels_last", [](const Dims& shape, DType dtype, Device device, int category) {
    return ops::empty_channels_last(shape, dtype, device, category_of(category));
  });
  m.def("empty_like", [](T t, DType dtype) { return ops::empty_like(t, dtype); });
}

}  // namespace fastcnn
