// Counters, limits, traces and guards of the allocators; fastcnn/memory.py is the public side.
#include <optional>
#include <unordered_map>

#include "bindings/casters.h"
#include "memory/allocator.h"

namespace fastcnn {
namespace {

py::dict stats_dict(Device device) {
  const MemoryStats s = allocator_for(device).stats();
  py::dict d;
  d["allocated_bytes"] = s.allocated_bytes;
  d["peak_bytes"] = s.peak_bytes;
  d["reserved_bytes"] = s.reserved_bytes;
  d["peak_reserved_bytes"] = s.peak_reserved_bytes;
  d["limit_bytes"] = s.limit_bytes == SIZE_MAX ? py::object(py::none()) : py::object(py::int_(s.limit_bytes));
  d["allocations"] = s.allocations;
  d["external_bytes"] = s.external_bytes;
  return d;
}

/// [(kind, category, id, requested, rounded, allocated_after, op, phase)]. A step has thousands of events and a
/// handful of names, so each name is made once.
py::list stop_trace(Device device) {
  const std::vector<MemoryEvent> events = allocator_for(device).stop_trace();
  std::unordered_map<const char*, py::str> names;
  const auto name = [&](const char* text) -> const py::str& {
    return names.try_emplace(text, text).first->second;
  };
  py::list list(events.size());
  for (size_t i = 0; i < events.size(); ++i) {
    const MemoryEvent& e = events[i];
    list[i] = py::make_tuple(name(name_of(e.kind)), name(name_of(e.category)), e.id, e.requested, e.rounded,
                             e.allocated_after, name(e.op), name(e.phase));
  }
  return list;
}

}  // namespace

void bind_memory(py::module_& m) {
  m.def("memory_stats", &stats_dict);
  m.def("memory_reset_peak", [](Device d) { allocator_for(d).reset_peak(); });
  m.def("memory_set_limit",
        [](Device d, std::optional<size_t> bytes) { allocator_for(d).set_limit(bytes.value_or(SIZE_MAX)); });
  m.def("memory_empty_cache", [](Device d) { allocator_for(d).empty_cache(); });
  m.def("memory_start_trace", [](Device d) { allocator_for(d).start_trace(); });
  m.def("memory_stop_trace", &stop_trace);
  m.def("memory_mark", [](Device d, const std::string& text) { allocator_for(d).mark(text); });
  m.def("memory_set_guard", [](Device d, bool on) { allocator_for(d).set_guard(on); });
  m.def("memory_guard", [](Device d) { return allocator_for(d).guard(); });
  m.def("memory_guard_violations", [](Device d) { return allocator_for(d).guard_violations(); });
  m.def("memory_categories", [] {
    py::list names;
    for (int i = 0; i < kCategories; ++i) names.append(name_of(static_cast<Category>(i)));
    return names;
  });
  m.def("known_cards", [] {
    py::dict totals;
    for (const KnownCard& card : known_cards()) totals[py::str(card.key)] = card.props.total_bytes;
    return totals;
  });
  m.def("set_phase", &set_phase);
  m.def("phase", &current_phase);

  // For the tests: blocks without a tensor.
  py::class_<Block>(m, "_TestBlock")
      .def_property_readonly("address", [](const Block& b) { return reinterpret_cast<uintptr_t>(b.data); })
      .def_readonly("requested", &Block::requested)
      .def_readonly("rounded", &Block::rounded)
      .def_readonly("segment", &Block::segment)
      .def_readonly("offset", &Block::offset);
  m.def("_test_allocate", [](Device d, size_t bytes, const std::string& category) {
    return allocator_for(d).allocate(bytes, parse_category(category));
  });
  m.def("_test_free", [](Device d, const Block& block) { allocator_for(d).free(block); });
}

}  // namespace fastcnn
