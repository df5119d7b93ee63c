// BRIDGE: replaced by the memory room.
#include "bindings/casters.h"
#include "memory/allocator.h"
#include "ops/runtime.h"

namespace fastcnn {
void bind_memory(py::module_& m) {
  m.def("memory_stats", [](Device d) {
    const MemoryStats s = allocator_for(d).stats();
    py::dict out;
    out["allocated_bytes"] = s.allocated_bytes;
    out["peak_bytes"] = s.peak_bytes;
    return out;
  });
  m.def("set_phase", &set_phase);
  m.def("phase", [] { return std::string(current_phase()); });
}
}  // namespace fastcnn
