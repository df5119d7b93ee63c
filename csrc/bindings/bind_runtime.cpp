// Threads and instruction set.
#include "bindings/casters.h"
#include "ops/runtime.h"

namespace fastcnn {

void bind_runtime(py::module_& m) {
  m.def("set_num_threads", &ops::set_num_threads);
  m.def("num_threads", &ops::num_threads);
  m.def("set_isa", &ops::set_isa);
  m.def("isa", &ops::isa);
  m.def("available_isas", &ops::available_isas);
  // Ctrl-C in a long kernel: looked for between tasks, by the thread that called, with the GIL taken for it.
  ops::set_interrupt_check([] {
    if (!Py_IsInitialized()) return false;
    py::gil_scoped_acquire gil;
    return PyErr_CheckSignals() != 0;
  });
}

}  // namespace fastcnn
