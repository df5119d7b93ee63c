// Counters, limits, traces and guards of the allocators; fastcnn/memory.py is the public side.
#include <algorithm>
#include <optional>
#include <unordered_map>

#include "bindings/casters.h"
#include "memory/allocator.h"
#include "memory/trace.h"

namespace fastcnn {
namespace {

py::dict stats_dict(const MemoryStats& s) {
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

/// What a trace tells, without a Python object per event: estimates read a few numbers of thousands.
struct Trace {
  std::vector<MemoryEvent> events;

  void check(size_t index) const {
    FC_CHECK(index < events.size(), "trace: no such event, got ", index, ", expected less than ",
             events.size());
  }
  py::list list() const;
  py::tuple event(size_t i) const {
    check(i);
    const MemoryEvent& e = events[i];
    return py::make_tuple(name_of(e.kind), name_of(e.category), e.id, e.requested, e.rounded,
                          e.allocated_after, e.op, e.phase, e.layer);
  }
  Replay replay(size_t index) const {
    check(index);
    Replay r;
    for (size_t i = 0; i <= index; ++i) r.apply(events[i]);
    return r;
  }
  std::vector<size_t> by_category(size_t index) const {
    const auto bytes = replay(index).by_category();
    return {bytes.begin(), bytes.end()};
  }
  /// [(category, rounded, number of the allocate event)] of the blocks alive after an event, oldest first.
  py::list live(size_t index) const {
    const Replay r = replay(index);
    std::vector<std::pair<size_t, const Replay::Live*>> blocks;
    for (const auto& [id, live] : r.live()) blocks.emplace_back(live.event, &live);
    std::sort(blocks.begin(), blocks.end());
    py::list out(blocks.size());
    for (size_t i = 0; i < blocks.size(); ++i)
      out[i] = py::make_tuple(name_of(strongest(blocks[i].second->holders)), blocks[i].second->rounded,
                              blocks[i].first);
    return out;
  }
  /// {layer: (bytes by category after an event, most bytes by category, most bytes at once)}; `owners` names the
  /// layers of blocks that others allocated for them.
  py::dict layers(size_t index, const std::unordered_map<uint64_t, uint32_t>& owners) const {
    check(index);
    py::dict out;
    for (const auto& [layer, bytes] : layers_of(events, index, owners))
      out[py::int_(layer)] = py::make_tuple(bytes.at, bytes.most, bytes.allocated_most);
    return out;
  }
  /// (events, categories) int64: bytes by category after each event.
  py::array_t<int64_t> timeline() const {
    py::array_t<int64_t> out({py::ssize_t(events.size()), py::ssize_t(kCategories)});
    int64_t* row = out.mutable_data();
    Replay r;
    for (const MemoryEvent& e : events) {
      r.apply(e);
      for (size_t bytes : r.by_category()) *row++ = static_cast<int64_t>(bytes);
    }
    return out;
  }
};

/// [(kind, category, id, requested, rounded, allocated_after, op, phase, layer)]. A step has thousands of events and a
/// handful of names, so each name is made once.
py::list Trace::list() const {
  std::unordered_map<const char*, py::str> names;
  const auto name = [&](const char* text) -> const py::str& {
    return names.try_emplace(text, text).first->second;
  };
  py::list out(events.size());
  for (size_t i = 0; i < events.size(); ++i) {
    const MemoryEvent& e = events[i];
    out[i] = py::make_tuple(name(name_of(e.kind)), name(name_of(e.category)), e.id, e.requested, e.rounded,
                            e.allocated_after, name(e.op), name(e.phase), e.layer);
  }
  return out;
}

}  // namespace

void bind_memory(py::module_& m) {
  m.attr("MEMORY_BLOCK_BYTES") = Allocator::kAlignBytes;
  m.attr("MEMORY_SEGMENT_BYTES") = Allocator::kSegmentBytes;
  m.def("memory_stats", [](Device d) { return stats_dict(allocator_for(d).stats()); });
  m.def("memory_reset_peak", [](Device d) { allocator_for(d).reset_peak(); });
  m.def("memory_set_limit",
        [](Device d, std::optional<size_t> bytes) { allocator_for(d).set_limit(bytes.value_or(SIZE_MAX)); });
  m.def("memory_empty_cache", [](Device d) { allocator_for(d).empty_cache(); });
  m.def("pinned_stats", [] { return stats_dict(pinned_stats()); });
  m.def("pinned_empty_cache", [] { pinned_allocator().empty_cache(); }, release_gil());
  m.def("memory_start_trace", [](Device d) { allocator_for(d).start_trace(); });
  py::class_<Trace>(m, "Trace")
      .def("__len__", [](const Trace& t) { return t.events.size(); })
      .def("event", &Trace::event)
      .def("list", &Trace::list)
      .def("peak", [](const Trace& t) { return peak_of(t.events); })
      .def("by_category", &Trace::by_category)
      .def("live", &Trace::live)
      .def("layers", &Trace::layers)
      .def("timeline", &Trace::timeline)
      .def("__eq__", [](const Trace& a, const Trace& b) { return a.events == b.events; });
  m.def("memory_stop_trace", [](Device d) { return Trace{allocator_for(d).stop_trace()}; });
  m.def("memory_acquire_twin", &acquire_twin);
  m.def("memory_release_twin", &release_twin);
  m.def("set_layer", &set_layer);
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
