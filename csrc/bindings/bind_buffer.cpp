// The buffer protocol of Tensor: memoryview(t), bytes(t), file.write(t). Written by hand because the view must
// hold the memory itself: the tensor may come to mean other memory while the view is out (Tensor._set, dry runs).
#include "bindings/replay.h"
#include "memory/kept.h"

namespace fastcnn {

namespace {

struct BufferView {
  explicit BufferView(const Tensor& t) : memory(t.storage) {}
  SharedView memory;
  Py_ssize_t shape[kMaxDims], strides[kMaxDims];
};

// nullptr for types that the struct module cannot name.
const char* format_of(DType t) {
  switch (t) {
    case DType::float32: return "f";
    case DType::float64: return "d";
    case DType::float16: return "e";
    case DType::uint8: return "B";
    case DType::int32: return "i";
    case DType::int64: return sizeof(long) == 8 ? "l" : "q";
    case DType::boolean: return "?";
    default: return nullptr;
  }
}

bool is_fortran(const Tensor& t) {
  int64_t step = 1;
  for (int i = 0; i < t.ndim(); ++i) {
    if (t.shape[i] == 0) return true;
    if (t.shape[i] != 1 && t.strides[i] != step) return false;
    step *= t.shape[i];
  }
  return true;
}

// Why the tensor has no buffer of this kind, or "".
std::string refusal(const Tensor& t, int flags) {
  const auto asks = [flags](int kind) { return (flags & kind) == kind; };
  if (t.device().type != DeviceType::cpu)
    return str("buffer: the tensor is on ", to_string(t.device()), ", expected cpu; use .to(\"cpu\")");
  if (t.requires_grad) return "buffer: the tensor requires a gradient; use .detach()";
  if (!format_of(t.dtype))
    return str("buffer: got ", name_of(t.dtype),
               ", which the buffer protocol cannot name; use .to(\"float32\")");
  if (asks(PyBUF_WRITABLE) && t.storage->readonly)
    return "buffer: the tensor borrows read-only memory, expected writable memory; .clone() it first";
  const bool c = t.is_contiguous(), f = is_fortran(t);
  if ((asks(PyBUF_C_CONTIGUOUS) || !asks(PyBUF_STRIDES)) && !c && !asks(PyBUF_F_CONTIGUOUS) &&
      !asks(PyBUF_ANY_CONTIGUOUS))
    return str("buffer: a contiguous buffer was asked for, got strides ", to_string(t.strides), " for shape ",
               to_string(t.shape), "; use .contiguous()");
  if ((asks(PyBUF_F_CONTIGUOUS) && !f) || (asks(PyBUF_ANY_CONTIGUOUS) && !c && !f))
    return str("buffer: a Fortran-ordered or contiguous buffer was asked for, got strides ",
               to_string(t.strides), " for shape ", to_string(t.shape), "; copy it first");
  return "";
}

int get_buffer(PyObject* self, Py_buffer* out, int flags) {
  out->obj = nullptr;
  try {
    const Tensor& t = py::handle(self).cast<const Tensor&>();
    refuse_reading("buffer", t);
    const std::string reason = refusal(t, flags);
    if (!reason.empty()) {
      PyErr_SetString(PyExc_BufferError, reason.c_str());
      return -1;
    }
    const auto item = Py_ssize_t(size_of(t.dtype));
    static float nothing;  // empty tensors have no memory, and readers want an address
    auto view = std::make_unique<BufferView>(t);
    for (int i = 0; i < t.ndim(); ++i) {
      view->shape[i] = Py_ssize_t(t.shape[i]);
      view->strides[i] = Py_ssize_t(t.strides[i]) * item;
    }
    *out = {};
    out->buf = t.numel() ? t.raw() : &nothing;
    out->len = Py_ssize_t(t.numel()) * item;
    out->itemsize = item;
    out->readonly = t.storage->readonly;
    out->ndim = t.ndim();
    out->format = (flags & PyBUF_FORMAT) ? const_cast<char*>(format_of(t.dtype)) : nullptr;
    out->shape = (flags & PyBUF_ND) ? view->shape : nullptr;
    out->strides = (flags & PyBUF_STRIDES) == PyBUF_STRIDES ? view->strides : nullptr;
    out->internal = view.release();
    out->obj = Py_NewRef(self);
    return 0;
  } catch (py::error_already_set& e) {
    e.restore();
  } catch (const std::exception& e) {
    PyErr_SetString(PyExc_BufferError, e.what());
  }
  return -1;
}

void release_buffer(PyObject*, Py_buffer* out) { delete static_cast<BufferView*>(out->internal); }

}  // namespace

void bind_buffer(py::module_&) {
  auto* type = reinterpret_cast<PyHeapTypeObject*>(py::type::of<Tensor>().ptr());
  type->as_buffer.bf_getbuffer = get_buffer;
  type->as_buffer.bf_releasebuffer = release_buffer;
  type->ht_type.tp_as_buffer = &type->as_buffer;
  PyType_Modified(&type->ht_type);
}

}  // namespace fastcnn
