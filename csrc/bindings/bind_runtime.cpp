// Threads, instruction set and devices.
#include "bindings/casters.h"
#include "memory/op_clock.h"
#include "ops/runtime.h"

namespace fastcnn {

void bind_runtime(py::module_& m) {
  m.def("set_num_threads", &ops::set_num_threads);
  m.def("num_threads", &ops::num_threads);
  m.def("set_isa", &ops::set_isa);
  m.def("isa", &ops::isa);
  m.def("measure_flops", &ops::measure_flops, release_gil());
  m.def("available_isas", &ops::available_isas);
  m.def("cuda_device_count", &cuda_device_count);
  m.def("cuda_is_emulated", &ops::cuda_is_emulated);
  m.def("synchronize", &ops::synchronize, release_gil());
  m.def("device_info", [](Device device) {
    const DeviceProps& props = device_props(device);
    py::dict out;
    out["name"] = props.name;
    out["isa"] = props.isa;
    out["threads"] = props.threads;
    out["l1_bytes"] = props.l1_bytes;
    out["l2_bytes"] = props.l2_bytes;
    out["l3_bytes"] = props.l3_bytes;
    out["sm"] = props.sm;
    out["sm_count"] = props.sm_count;
    out["shared_bytes"] = props.shared_bytes;
    out["total_bytes"] = props.total_bytes;
    return out;
  });
  m.def("start_op_clock", &start_op_clock);
  m.def("stop_op_clock", [] {
    py::list out;
    for (const OpCall& c : stop_op_clock())
      out.append(py::make_tuple(c.op, c.phase, c.note, c.layer, c.thread, c.start_ns, c.total_ns, c.self_ns));
    return out;
  });
  // Ctrl-C in a long kernel: looked for between tasks, by the thread that called, with the GIL taken for it.
  ops::set_interrupt_check([] {
    if (!Py_IsInitialized()) return false;
    py::gil_scoped_acquire gil;
    return PyErr_CheckSignals() != 0;
  });
}

}  // namespace fastcnn
