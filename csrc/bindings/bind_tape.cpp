// The recording half of the tape: what happens on every call of a differentiable op, so it is compiled. The other
// half, the walk backwards, is fastcnn/autograd.py, which also has the classes Function and Context and says how
// the graph hangs together.
#include <atomic>
#include <vector>

#include "bindings/casters.h"
#include "memory/saved_tensor.h"

namespace fastcnn {

namespace {

thread_local bool grad_enabled = true;
std::atomic<uint64_t> last_sequence{0};
PyObject* context_type = nullptr;  // fastcnn.autograd.Context, handed over at import
PyTypeObject* tensor_type = nullptr;

// Attribute names, interned once.
struct Names {
  PyObject *forward, *needs_input_grad, *function, *sequence, *outputs, *edges, *saved, *to_save;
};
Names names;

// What one recorded call keeps for its backward. A position names the tensor's place in the graph: i + 1 is
// input i, -i - 1 output i, 0 neither (or no float, so without a gradient).
struct SavedTensors {
  struct Entry {
    std::vector<SavedTensor> tensor;  // none or one
    int position;
  };
  std::vector<Entry> entries;
  uint32_t layer = current_layer();  // its backward counts as this layer's too

  py::list unpack(const std::string& function) const {
    py::list out(entries.size());
    for (size_t i = 0; i < entries.size(); ++i)
      out[i] = entries[i].tensor.empty() ? py::object(py::none())
                                         : py::cast(entries[i].tensor[0].unpack(function));
    return out;
  }
  std::vector<int> positions() const {
    std::vector<int> out;
    for (const Entry& e : entries) out.push_back(e.position);
    return out;
  }
};

void set(PyObject* object, PyObject* name, PyObject* value) {
  if (PyObject_SetAttr(object, name, value) != 0) throw py::error_already_set();
}
py::object get(PyObject* object, PyObject* name) {
  PyObject* value = PyObject_GetAttr(object, name);
  if (!value) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(value);
}

// Where the gradient of an input goes: None, the leaf itself, or (node, number of its output).
PyObject* edge_to(PyObject* argument) {
  const Tensor* t = tensor_in(argument);
  if (!t || !t->requires_grad) Py_RETURN_NONE;
  if (!t->node) return Py_NewRef(argument);
  return Py_BuildValue("(Oi)", static_cast<PyObject*>(t->node.get()), t->output_index);
}

int position_of(PyObject* tensor, PyObject* const* inputs, Py_ssize_t count,
                const std::vector<PyObject*>& outputs) {
  for (size_t i = outputs.size(); i-- > 0;)
    if (outputs[i] == tensor) return -int(i) - 1;
  for (Py_ssize_t i = count; i-- > 0;)
    if (inputs[i] == tensor) return int(i) + 1;
  return 0;
}

// Turns the forward call into a node: edges to the inputs, saved tensors, outputs that point here.
void seal(PyObject* context, PyObject* function, PyObject* const* inputs, Py_ssize_t count,
          PyObject* result) {
  std::vector<PyObject*> outputs;
  if (PyTuple_Check(result)) {
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(result); ++i) outputs.push_back(PyTuple_GET_ITEM(result, i));
  } else {
    outputs.push_back(result);
  }
  set(context, names.function, function);
  set(context, names.sequence, py::int_(++last_sequence).ptr());
  set(context, names.outputs, py::int_(outputs.size()).ptr());

  py::tuple edges(count);
  for (Py_ssize_t i = 0; i < count; ++i) PyTuple_SET_ITEM(edges.ptr(), i, edge_to(inputs[i]));
  set(context, names.edges, edges.ptr());

  auto saved = std::make_unique<SavedTensors>();
  const py::tuple to_save = get(context, names.to_save);
  for (py::handle item : to_save) {
    SavedTensors::Entry entry{{}, 0};
    if (const Tensor* t = tensor_in(item.ptr())) {
      if (is_float(t->dtype)) entry.position = position_of(item.ptr(), inputs, count, outputs);
      entry.tensor.emplace_back(*t);
    }
    saved->entries.push_back(std::move(entry));
  }
  set(context, names.saved, py::cast(std::move(saved)).ptr());
  if (to_save.size()) set(context, names.to_save, py::tuple().ptr());

  for (size_t i = 0; i < outputs.size(); ++i) {
    Tensor* t = tensor_in(outputs[i]);
    if (!t || !is_float(t->dtype)) continue;
    t->requires_grad = true;
    t->node = keep_object(py::reinterpret_borrow<py::object>(context));
    t->output_index = int(i);
  }
}

// An output that is a leaf among the inputs, as another Tensor on the same memory: the leaf stays one, and no node
// owns itself. (A computed input may be handed back: an in-place op, whose output takes its place.)
void part_from_inputs(py::object& result, PyObject* const* inputs, Py_ssize_t count) {
  const auto parted = [&](PyObject* output) -> py::object {
    if (const Tensor* t = tensor_in(output))
      for (Py_ssize_t i = 0; i < count; ++i)
        if (inputs[i] == output && !t->node) return py::cast(t->detach());
    return py::reinterpret_borrow<py::object>(output);
  };
  if (!PyTuple_Check(result.ptr())) {
    result = parted(result.ptr());
    return;
  }
  py::tuple out(PyTuple_GET_SIZE(result.ptr()));
  bool changed = false;
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(result.ptr()); ++i) {
    PyObject* was = PyTuple_GET_ITEM(result.ptr(), i);
    py::object now = parted(was);
    changed = changed || now.ptr() != was;
    PyTuple_SET_ITEM(out.ptr(), i, now.release().ptr());
  }
  if (changed) result = std::move(out);
}

// Function.apply: argv is the Function class and its arguments.
PyObject* apply(PyObject*, PyObject* const* argv, Py_ssize_t argc) {
  PyObject* function = argv[0];
  const Py_ssize_t count = argc - 1;
  try {
    bool record = false;
    py::tuple needs(count);
    for (Py_ssize_t i = 0; i < count; ++i) {
      const Tensor* t = grad_enabled ? tensor_in(argv[i + 1]) : nullptr;
      const bool need = t && t->requires_grad;
      record = record || need;
      PyTuple_SET_ITEM(needs.ptr(), i, Py_NewRef(need ? Py_True : Py_False));
    }
    PyObject* made = PyObject_CallNoArgs(context_type);
    if (!made) return nullptr;
    const py::object context = py::reinterpret_steal<py::object>(made);
    set(made, names.needs_input_grad, needs.ptr());

    constexpr Py_ssize_t kOnStack = 16;
    PyObject* stack[kOnStack];
    std::vector<PyObject*> heap;
    PyObject** call = stack;
    if (argc > kOnStack) {
      heap.resize(size_t(argc));
      call = heap.data();
    }
    call[0] = made;
    for (Py_ssize_t i = 1; i < argc; ++i) call[i] = argv[i];
    const py::object forward = get(function, names.forward);
    if (record) grad_enabled = false;
    PyObject* result = PyObject_Vectorcall(forward.ptr(), call, size_t(argc), nullptr);
    if (record) grad_enabled = true;
    if (!result || !record) return result;
    py::object owned = py::reinterpret_steal<py::object>(result);
    part_from_inputs(owned, argv + 1, count);
    seal(made, function, argv + 1, count, owned.ptr());
    return owned.release().ptr();
  } catch (py::error_already_set& e) {
    e.restore();
  } catch (const std::exception& e) {
    PyErr_SetString(PyExc_RuntimeError, e.what());
  }
  return nullptr;
}

PyMethodDef apply_definition = {
    "apply", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(apply)), METH_FASTCALL,
    "apply(function, *args): runs function.forward and records the call if an argument requires a gradient"};

}  // namespace

Tensor* tensor_in(PyObject* object) {
  if (!PyObject_TypeCheck(object, tensor_type)) return nullptr;
  auto* t = static_cast<Tensor*>(
      reinterpret_cast<py::detail::instance*>(object)->get_value_and_holder().value_ptr());
  note_use(*t);
  return t;
}

bool recording() { return grad_enabled; }

void bind_tape(py::module_& m) {
  tensor_type = reinterpret_cast<PyTypeObject*>(py::type::of<Tensor>().ptr());
  const auto intern = [](const char* text) { return PyUnicode_InternFromString(text); };
  names = {intern("forward"),  intern("needs_input_grad"), intern("function"),
           intern("sequence"), intern("outputs"),          intern("edges"),
           intern("_saved"),   intern("to_save")};
  py::class_<SavedTensors>(m, "SavedTensors")
      .def("unpack", &SavedTensors::unpack)
      .def_readonly("layer", &SavedTensors::layer)
      .def_property_readonly("positions", &SavedTensors::positions);
  m.add_object("apply", py::reinterpret_steal<py::object>(PyCFunction_New(&apply_definition, nullptr)));
  m.def("_set_context_type", [](py::object type) { context_type = type.release().ptr(); });
  m.def("grad_enabled", [] { return grad_enabled; });
  m.def("set_grad_enabled", [](bool enabled) { grad_enabled = enabled; });
  // The common end of a gradient's way: the leaf has none yet and nobody else holds its memory, so it becomes .grad
  // without a copy. False if it is not so simple.
  m.def("take_gradient", [](Tensor& leaf, const Tensor& gradient) {
    const auto* s = dynamic_cast<const AllocatedStorage*>(gradient.storage.get());
    if (leaf.grad || grad_enabled || gradient.storage.use_count() != 1 || (s && !s->heir.expired()) ||
        gradient.strides != leaf.strides)
      return false;
    leaf.grad = std::make_shared<Tensor>(gradient.detach());
    hold(*leaf.grad, Category::gradient);
    return true;
  });
  m.def("drop_gradients", [](const std::vector<std::shared_ptr<Tensor>>& leaves) {
    for (const std::shared_ptr<Tensor>& leaf : leaves) {
      if (leaf->grad) drop(*leaf->grad, Category::gradient);
      leaf->grad.reset();
    }
  });
  // True if a call with these tensors would be recorded.
  m.def("records", [](const py::args& tensors) {
    if (!grad_enabled) return false;
    for (py::handle t : tensors)
      if (const Tensor* tensor = tensor_in(t.ptr()))
        if (tensor->requires_grad) return true;
    return false;
  });
}

}  // namespace fastcnn
