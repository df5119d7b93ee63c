// The Tensor class and its exchange with NumPy. Methods with gradients live in fastcnn/tensor.py.
#include <optional>

#include "bindings/replay.h"
#include "memory/kept.h"
#include "ops/elementwise.h"

namespace fastcnn {

DType parse_dtype(const std::string& name) {
  for (int i = 0; i <= int(DType::boolean); ++i)
    if (name == name_of(DType(i))) return DType(i);
  fail<TypeError>("dtype: got '", name,
                  "', expected float32, float64, float16, bfloat16, uint8, int32, int64 or bool");
}

std::shared_ptr<void> keep_object(py::object object) {
  if (object.is_none()) return nullptr;
  return std::shared_ptr<void>(object.release().ptr(), [](void* p) {
    if (!Py_IsInitialized()) return;  // the interpreter is gone, and so is the object
    py::gil_scoped_acquire gil;
    Py_DECREF(static_cast<PyObject*>(p));
  });
}

namespace {

py::object node_of(const Tensor& t) {
  return t.node ? py::reinterpret_borrow<py::object>(static_cast<PyObject*>(t.node.get())) : py::none();
}

void set_requires_grad(Tensor& t, bool on) {
  FC_CHECK_TYPE(!on || is_float(t.dtype), "requires_grad: got a ", name_of(t.dtype),
                " tensor, expected a float dtype; convert with .to(\"float32\")");
  FC_CHECK(on || !t.node, "requires_grad: only leaf tensors can be switched off, got a computed one; use ",
           ".detach()");
  t.requires_grad = on;
}

const char* numpy_format(DType t) {
  switch (t) {
    case DType::float32: return "f4";
    case DType::float64: return "f8";
    case DType::float16: return "f2";
    case DType::uint8: return "u1";
    case DType::int32: return "i4";
    case DType::int64: return "i8";
    case DType::boolean: return "?";
    default: fail<TypeError>("numpy: NumPy has no bfloat16; convert with .to(\"float32\")");
  }
}

// An ndarray on the same memory, kept alive by it; read-only where the storage is. CPU only.
py::array to_numpy(const Tensor& t) {
  if (t.device().type != DeviceType::cpu)
    fail<TypeError>("numpy: the tensor is on ", to_string(t.device()), ", expected cpu; use .to(\"cpu\")");
  const py::ssize_t item = py::ssize_t(size_of(t.dtype));
  std::vector<py::ssize_t> shape(t.shape.begin(), t.shape.end()), strides;
  for (int64_t s : t.strides) strides.push_back(s * item);
  py::capsule base(new SharedView(t.storage), [](void* p) { delete static_cast<SharedView*>(p); });
  static float nothing;  // NumPy wants a pointer even for empty arrays
  void* data = t.raw() ? t.raw() : &nothing;
  py::array out(py::dtype(numpy_format(t.dtype)), shape, strides, data, base);
  if (t.storage->readonly) out.attr("flags").attr("writeable") = false;
  return out;
}

// Borrows memory that `owner` keeps alive. `shape` and `strides` (in elements) describe it from `address`.
Tensor borrow(uintptr_t address, const Dims& shape, const Dims& strides, DType dtype, Device device,
              bool readonly, py::object owner) {
  Tensor t;
  auto storage = std::make_shared<BorrowedStorage>();
  storage->owner = keep_object(std::move(owner));
  storage->data = reinterpret_cast<void*>(address);
  storage->device = device;
  storage->readonly = readonly;
  storage->bytes = size_t(numel(shape)) * size_of(dtype);
  allocator_for(device).add_external(int64_t(storage->bytes));
  note_stream(*storage);
  t.storage = std::move(storage);
  t.shape = shape;
  t.strides = strides;
  t.dtype = dtype;
  return t;
}

double item(const Tensor& t) {
  FC_CHECK(t.numel() == 1, "item: got a tensor of shape ", to_string(t.shape), ", expected one element");
  if (t.device().is_meta())
    fail<TypeError>("item: a meta tensor has no values, got one on ", to_string(t.device()),
                    ", expected a real device; in a dry run return the tensor and read it outside the step");
  const Tensor here = t.device() == Device{} ? t : ops::to(t, t.dtype, Device{}, true, Category::temporary);
  return dispatch_all(t.dtype,
                      [&](auto type) { return double(*here.data<typename decltype(type)::type>()); });
}

}  // namespace

void bind_tensor(py::module_& m) {
  py::class_<Tensor, std::shared_ptr<Tensor>>(m, "Tensor")
      .def(py::init<const Tensor&>())
      .def_property_readonly("shape", [](const Tensor& t) { return t.shape; })
      .def_property_readonly("strides", [](const Tensor& t) { return t.strides; })
      .def_property_readonly("dtype", [](const Tensor& t) { return t.dtype; })
      .def_property_readonly("device", [](const Tensor& t) { return t.device(); })
      .def_property_readonly("ndim", &Tensor::ndim)
      .def_property_readonly("nbytes", [](const Tensor& t) { return t.numel() * int64_t(size_of(t.dtype)); })
      .def_property(
          "requires_grad", [](const Tensor& t) { return t.requires_grad; }, &set_requires_grad)
      .def_readwrite("_grad", &Tensor::grad)
      .def_property("_node", &node_of,
                    [](Tensor& t, py::object node) { t.node = keep_object(std::move(node)); })
      .def_readwrite("_output_index", &Tensor::output_index)
      .def_property_readonly("_version", [](const Tensor& t) { return t.storage->version.load(); })
      .def_property_readonly("_readonly", [](const Tensor& t) { return t.storage->readonly; })
      .def_property_readonly("_storage_users",
                             [](const Tensor& t) {
                               const auto* s = dynamic_cast<const AllocatedStorage*>(t.storage.get());
                               return t.storage.use_count() + (s && !s->heir.expired());
                             })
      .def_property_readonly("_alone", &is_alone)
      .def("_bump", [](const Tensor& t) { changed(t); })
      .def("numel", &Tensor::numel)
      .def("data_ptr", [](const Tensor& t) { return reinterpret_cast<uintptr_t>(t.raw()); })
      .def("is_contiguous", &Tensor::is_contiguous)
      .def("is_channels_last", &Tensor::is_channels_last)
      .def("is_dense", &Tensor::is_dense)
      .def("_set", [](Tensor& t, const Tensor& o) {  // the parameter now means o's memory
        t.storage = o.storage, t.offset = o.offset, t.shape = o.shape, t.strides = o.strides,
        t.dtype = o.dtype;
      });
  Recorded views(m);
  views.def("detach", &Tensor::detach);
  views.def("permute", &Tensor::permute);
  views.def("expand", &Tensor::expand);
  views.def("slice", &Tensor::slice);
  views.def("select", &Tensor::select);
  views.def("unsqueeze", &Tensor::unsqueeze);
  views.def("try_view", [](const Tensor& t, const Dims& shape) -> std::optional<Tensor> {
    Tensor out;
    if (!t.try_view(shape, out)) return std::nullopt;
    return out;
  });
  m.def("infer_shape", &infer_shape);
  m.def("broadcast_shapes", &broadcast_shapes);
  m.def("item", [](const Tensor& t) {
    refuse_reading("item", t);
    return item(t);
  });
  m.def("to_numpy", [](const Tensor& t) {
    refuse_reading("numpy", t);
    return to_numpy(t);
  });
  m.def("borrow", &borrow);
  m.attr("MAX_DIMS") = kMaxDims;
  m.def("hold", [](const Tensor& t, const std::string& c) { hold(t, parse_category(c)); });
  m.def("drop", [](const Tensor& t, const std::string& c) { drop(t, parse_category(c)); });
}

}  // namespace fastcnn
