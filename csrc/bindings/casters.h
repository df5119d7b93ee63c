// How C++ types look in Python: Dims is a tuple of ints, DType and Device are strings, an optional tensor is
// None or a Tensor. Everything else in this folder only names functions.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "bindings/redirect.h"
#include "memory/storage.h"

namespace fastcnn {
/// ValueError listing the dtypes when `name` is none of them.
DType parse_dtype(const std::string& name);
/// A tensor that a call is given is at work on the thread's stream.
inline void note_use(const Tensor& t) {
  if (streams_exist.load(std::memory_order_relaxed)) note_stream(static_cast<StreamedStorage&>(*t.storage));
}
}  // namespace fastcnn

namespace pybind11::detail {

template <>
struct type_caster<fastcnn::Dims> {
  PYBIND11_TYPE_CASTER(fastcnn::Dims, const_name("tuple[int, ...]"));
  bool load(handle src, bool) {
    if (!src || !(PyTuple_Check(src.ptr()) || PyList_Check(src.ptr()))) return false;
    PyObject* fast = src.ptr();
    const Py_ssize_t n = PySequence_Fast_GET_SIZE(fast);
    FC_CHECK(n <= fastcnn::kMaxDims, "tensor: too many dimensions, got ", n, ", expected at most ",
             fastcnn::kMaxDims);
    value.n = 0;
    for (Py_ssize_t i = 0; i < n; ++i) {
      const long long x = PyLong_AsLongLong(PySequence_Fast_GET_ITEM(fast, i));
      if (x == -1 && PyErr_Occurred()) {
        PyErr_Clear();
        return false;
      }
      value.v[value.n++] = x;
    }
    return true;
  }
  static handle cast(const fastcnn::Dims& dims, return_value_policy, handle) {
    PyObject* out = PyTuple_New(dims.n);
    for (int i = 0; i < dims.n; ++i) PyTuple_SET_ITEM(out, i, PyLong_FromLongLong(dims[i]));
    return out;
  }
};

template <>
struct type_caster<fastcnn::DType> {
  PYBIND11_TYPE_CASTER(fastcnn::DType, const_name("str"));
  bool load(handle src, bool) {
    if (!src || !PyUnicode_Check(src.ptr())) return false;
    value = fastcnn::parse_dtype(PyUnicode_AsUTF8(src.ptr()));
    return true;
  }
  static handle cast(fastcnn::DType t, return_value_policy, handle) {
    return PyUnicode_InternFromString(fastcnn::name_of(t));
  }
};

template <>
struct type_caster<fastcnn::Device> {
  PYBIND11_TYPE_CASTER(fastcnn::Device, const_name("str"));
  bool load(handle src, bool) {
    if (!src || !PyUnicode_Check(src.ptr())) return false;
    value = fastcnn::redirected(fastcnn::parse_device(PyUnicode_AsUTF8(src.ptr())));
    return true;
  }
  static handle cast(fastcnn::Device d, return_value_policy, handle) {
    if (d == fastcnn::Device{}) return PyUnicode_InternFromString("cpu");
    return PyUnicode_FromString(fastcnn::to_string(d).c_str());
  }
};

/// As pybind11's, and notes the use.
template <>
struct type_caster<fastcnn::Tensor> : type_caster_base<fastcnn::Tensor> {
  bool load(handle src, bool convert) {
    if (!type_caster_base<fastcnn::Tensor>::load(src, convert)) return false;
    if (value) fastcnn::note_use(*static_cast<const fastcnn::Tensor*>(value));
    return true;
  }
};

}  // namespace pybind11::detail

namespace fastcnn {
namespace py = pybind11;
using release_gil = py::call_guard<py::gil_scoped_release>;

/// The Tensor inside a Python object, nullptr if it is something else.
Tensor* tensor_in(PyObject* object);
/// Whether this thread's calls are recorded where a tensor requires a gradient.
bool recording();
/// A Python object behind an opaque pointer; any thread may drop it. nullptr for None.
std::shared_ptr<void> keep_object(py::object object);

// One per family; module.cpp calls them all.
void bind_tensor(py::module_& m);
void bind_tape(py::module_& m);
void bind_elementwise(py::module_& m);
void bind_conv(py::module_& m);
void bind_reduce(py::module_& m);
void bind_null_op(py::module_& m);
void bind_runtime(py::module_& m);
void bind_info(py::module_& m);
void bind_random(py::module_& m);
void bind_norm(py::module_& m);
void bind_optim(py::module_& m);
void bind_loss(py::module_& m);
void bind_axis_map(py::module_& m);
void bind_pool(py::module_& m);
void bind_memory(py::module_& m);
void bind_linear(py::module_& m);
void bind_join(py::module_& m);
void bind_indexing(py::module_& m);
void bind_shadow(py::module_& m);
void bind_dlpack(py::module_& m);
void bind_buffer(py::module_& m);
void bind_streams(py::module_& m);
void bind_replay(py::module_& m);
}  // namespace fastcnn
