// Dry runs: tensors that mean a twin's memory for a while, and device names that do.
#include "bindings/casters.h"
#include "bindings/redirect.h"
#include "memory/shadow.h"

namespace fastcnn {

namespace {

thread_local Device redirect_to;  // the CPU: no dry run

// The shadowed tensors stay alive until restore(): Shadow points at them.
struct PyShadow {
  explicit PyShadow(Device twin) : shadow(twin) {}
  void add(const py::object& tensor, int category, std::optional<DType> dtype, uint32_t layer) {
    FC_CHECK(category >= 0 && category < kCategories, "memory: no category number ", category);
    const uint32_t before = set_layer(layer);
    try {
      shadow.add(tensor.cast<Tensor&>(), static_cast<Category>(category), dtype);
    } catch (...) {
      set_layer(before);
      throw;
    }
    set_layer(before);
    kept.push_back(tensor);
  }
  void restore() {
    shadow.restore();
    kept.clear();
  }
  std::vector<py::object> kept;
  Shadow shadow;
};

}  // namespace

Device redirected(Device named) {
  if (!redirect_to.is_meta() || named.is_meta()) return named;
  if (named.type == DeviceType::cuda && device_props(redirect_to).backend == DeviceType::cpu) return named;
  return redirect_to;
}

void bind_shadow(py::module_& m) {
  py::class_<PyShadow>(m, "Shadow")
      .def(py::init<Device>())
      .def("add", &PyShadow::add)
      .def("restore", &PyShadow::restore);
  // The block number, in the running trace, of a tensor's memory; 0 if there is none.
  m.def("memory_trace_id", [](const Tensor& t) {
    const auto* s = dynamic_cast<const AllocatedStorage*>(t.storage.get());
    return s ? allocator_for(s->device).trace_id(s->block) : uint64_t{0};
  });
  // The name of the device that this name means now.
  m.def("device_now", [](Device device) { return device; });
  // Returns the redirection before; None ends it.
  m.def("redirect_devices", [](std::optional<Device> twin) {
    const Device before = std::exchange(redirect_to, twin.value_or(Device{}));
    return before.is_meta() ? std::optional<Device>(before) : std::nullopt;
  });
}

}  // namespace fastcnn
