// The module `fastcnn._core`: exceptions, then one bind function per family.
#include "bindings/casters.h"
#include "ops/runtime.h"

namespace {

// Python-side exception types live in fastcnn/errors.py and are handed over at import.
PyObject* out_of_memory_type = PyExc_MemoryError;
PyObject* device_error_type = PyExc_RuntimeError;

void translate(std::exception_ptr pointer) {
  try {
    if (pointer) std::rethrow_exception(pointer);
  } catch (const fastcnn::TypeError& e) {
    PyErr_SetString(PyExc_TypeError, e.what());
  } catch (const fastcnn::IndexError& e) {
    PyErr_SetString(PyExc_IndexError, e.what());
  } catch (const fastcnn::ValueError& e) {
    PyErr_SetString(PyExc_ValueError, e.what());
  } catch (const fastcnn::OutOfMemoryError& e) {
    PyErr_SetString(out_of_memory_type, e.what());
  } catch (const fastcnn::DeviceError& e) {
    PyErr_SetString(device_error_type, e.what());
  } catch (const fastcnn::Interrupted&) {
    // PyErr_CheckSignals has set KeyboardInterrupt already.
  }
}

}  // namespace

PYBIND11_MODULE(_core, m, pybind11::mod_gil_not_used()) {
  using namespace fastcnn;
  m.doc() = "fastcnn's compiled half; the public interface is the fastcnn package.";
  py::register_exception_translator(translate);
  m.def("_set_exception_types", [](py::object out_of_memory, py::object device) {
    out_of_memory_type = out_of_memory.release().ptr();
    device_error_type = device.release().ptr();
  });
  ops::initialize_runtime();
  bind_info(m);
  bind_memory(m);
  bind_tensor(m);
  bind_tape(m);
  bind_elementwise(m);
  bind_conv(m);
  bind_reduce(m);
  bind_null_op(m);
  bind_runtime(m);
  bind_random(m);
  bind_norm(m);
  bind_optim(m);
  bind_loss(m);
  bind_pool(m);
  bind_axis_map(m);
  bind_linear(m);
  bind_join(m);
  bind_indexing(m);
  bind_shadow(m);
  bind_dlpack(m);
  bind_buffer(m);
  bind_streams(m);
  bind_replay(m);
}
