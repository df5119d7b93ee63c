#include "memory/trace.h"

#include <algorithm>
#include <string_view>
#include <unordered_set>
#include <utility>

#include "common/check.h"
#include "memory/fork_mutex.h"

namespace fastcnn {
namespace {

constexpr const char* kCategoryNames[kCategories] = {
    "parameter", "gradient", "optimizer", "buffer", "saved", "batch", "workspace", "layout", "temporary"};

// Events are compared by address, so there is one empty text.
constexpr char kNoText[] = "";

// Trivial types, so that tensors freed while a thread ends still find them.
thread_local const char* op_of_thread = kNoText;
thread_local const char* phase_of_thread = kNoText;
thread_local uint32_t layer_of_thread = 0;

struct Interned {
  ForkMutex mutex;
  std::unordered_set<std::string> texts;  // nodes never move
};

const char* intern_shared(const std::string& text) {
  static Interned* table = new Interned;
  const ForkLock lock(table->mutex);
  return table->texts.insert(text).first->c_str();
}

const char* intern_view(std::string_view text) {
  // Ops name themselves on every call: each thread keeps what it has seen, so that the lock is rare.
  if (text.empty()) return kNoText;
  thread_local std::unordered_map<std::string_view, const char*> seen;
  const auto found = seen.find(text);
  if (found != seen.end()) return found->second;
  const char* kept = intern_shared(std::string(text));
  seen.emplace(kept, kept);
  return kept;
}

}  // namespace

const char* name_of(Category c) { return kCategoryNames[static_cast<int>(c)]; }

const char* name_of(MemoryEvent::Kind kind) {
  constexpr const char* kNames[] = {"allocate", "free", "hold", "drop", "mark"};
  return kNames[kind];
}

Category parse_category(const std::string& name) {
  for (int i = 0; i < kCategories; ++i)
    if (name == kCategoryNames[i]) return static_cast<Category>(i);
  std::string names;
  for (const char* n : kCategoryNames) names += str(names.empty() ? "" : ", ", n);
  fail<ValueError>("memory: unknown category, got '", name, "', expected one of ", names);
}

const char* intern(const std::string& text) { return intern_view(text); }

OpScope::OpScope(const char* op) : previous_(op_of_thread) {
  op_of_thread = intern_view(op);
  if (clock_runs()) begin();
}
OpScope::~OpScope() {
  if (recording_) end();
  op_of_thread = previous_;
}
const char* current_op() { return op_of_thread; }
void set_phase(const std::string& phase) { phase_of_thread = intern_view(phase); }
const char* current_phase() { return phase_of_thread; }
uint32_t set_layer(uint32_t layer) { return std::exchange(layer_of_thread, layer); }
uint32_t current_layer() { return layer_of_thread; }

Category strongest(const Holders& holders) {
  for (int i = 0; i < kCategories; ++i)
    if (holders[i]) return static_cast<Category>(i);
  return Category::temporary;
}

void Replay::apply(const MemoryEvent& event) {
  const size_t number = events_++;
  if (event.kind == MemoryEvent::mark) return;
  const int category = static_cast<int>(event.category);
  if (event.kind == MemoryEvent::allocate) {
    Live live{event.rounded, {}, number};
    live.holders[category] = 1;
    live_.emplace(event.id, live);
    bytes_[category] += event.rounded;
    allocated_ += event.rounded;
    return;
  }
  const auto found = live_.find(event.id);
  FC_CHECK(found != live_.end(), "memory: trace names a block that does not live, got id ", event.id,
           ", expected the id of an earlier allocate event");
  Live& live = found->second;
  bytes_[static_cast<int>(strongest(live.holders))] -= live.rounded;
  if (event.kind == MemoryEvent::free) {
    allocated_ -= live.rounded;
    live_.erase(found);
    return;
  }
  if (event.kind == MemoryEvent::hold) ++live.holders[category];
  if (event.kind == MemoryEvent::drop && live.holders[category]) --live.holders[category];
  bytes_[static_cast<int>(strongest(live.holders))] += live.rounded;
}

std::map<uint32_t, LayerBytes> layers_of(const std::vector<MemoryEvent>& events, size_t index,
                                         const std::unordered_map<uint64_t, uint32_t>& owners) {
  struct Block {
    size_t rounded;
    Holders holders;
    uint32_t layer;
  };
  struct Layer {
    std::array<size_t, kCategories> now{};
    size_t allocated = 0;
    LayerBytes bytes;
  };
  std::unordered_map<uint64_t, Block> blocks;
  std::map<uint32_t, Layer> layers;
  const auto add = [&](const Block& b, bool comes) {
    Layer& layer = layers[b.layer];
    const auto c = static_cast<size_t>(strongest(b.holders));
    layer.now[c] += comes ? b.rounded : size_t{0} - b.rounded;
    layer.allocated += comes ? b.rounded : size_t{0} - b.rounded;
    layer.bytes.most[c] = std::max(layer.bytes.most[c], layer.now[c]);
    layer.bytes.allocated_most = std::max(layer.bytes.allocated_most, layer.allocated);
  };
  for (size_t i = 0; i < events.size(); ++i) {
    const MemoryEvent& e = events[i];
    const auto category = static_cast<size_t>(e.category);
    if (e.kind == MemoryEvent::allocate) {
      const auto owner = owners.find(e.id);
      Block& b = blocks[e.id] = Block{e.rounded, {}, owner == owners.end() ? e.layer : owner->second};
      b.holders[category] = 1;
      add(b, true);
    } else if (e.kind != MemoryEvent::mark) {
      const auto found = blocks.find(e.id);
      FC_CHECK(found != blocks.end(), "memory: trace names a block that does not live, got id ", e.id,
               ", expected the id of an earlier allocate event");
      Block& b = found->second;
      add(b, false);
      if (e.kind == MemoryEvent::free) {
        blocks.erase(found);
      } else {
        if (e.kind == MemoryEvent::hold) ++b.holders[category];
        if (e.kind == MemoryEvent::drop && b.holders[category]) --b.holders[category];
        add(b, true);
      }
    }
    if (i == index)
      for (auto& [number, layer] : layers) layer.bytes.at = layer.now;
  }
  std::map<uint32_t, LayerBytes> out;
  for (const auto& [number, layer] : layers) out[number] = layer.bytes;
  return out;
}

size_t peak_of(const std::vector<MemoryEvent>& events) {
  size_t best = 0;
  for (size_t i = 1; i < events.size(); ++i)
    if (events[i].allocated_after > events[best].allocated_after) best = i;
  return best;
}

}  // namespace fastcnn
