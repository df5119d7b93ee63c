// What a trace says. A trace alone is enough to know, at any instant, how many bytes each category holds: no
// state of the allocator is needed, so a trace of a meta twin is a whole memory report.
#pragma once

#include <array>
#include <map>
#include <unordered_map>

#include "memory/allocator.h"

namespace fastcnn {

using Holders = std::array<uint32_t, kCategories>;

/// The strongest category with a holder; temporary if there is none.
Category strongest(const Holders& holders);

/// Replays a trace, event by event.
class Replay {
 public:
  struct Live {
    size_t rounded;
    Holders holders;
    size_t event;  ///< number of its allocate event
  };

  void apply(const MemoryEvent& event);
  /// Bytes in rounded blocks by category after the events so far; their sum is allocated().
  const std::array<size_t, kCategories>& by_category() const { return bytes_; }
  size_t allocated() const { return allocated_; }
  size_t live_blocks() const { return live_.size(); }
  const std::unordered_map<uint64_t, Live>& live() const { return live_; }

 private:
  std::unordered_map<uint64_t, Live> live_;
  std::array<size_t, kCategories> bytes_{};
  size_t allocated_ = 0;
  size_t events_ = 0;
};

/// What one layer's allocations held: at one instant, and at most over the whole trace, by category.
struct LayerBytes {
  std::array<size_t, kCategories> at{}, most{};
  size_t allocated_most = 0;
};
/// By the layer that allocated, or the one that `owners` names for a block.
std::map<uint32_t, LayerBytes> layers_of(const std::vector<MemoryEvent>& events, size_t index,
                                         const std::unordered_map<uint64_t, uint32_t>& owners);

/// Number of the first event after which most is allocated; 0 for an empty trace.
size_t peak_of(const std::vector<MemoryEvent>& events);

}  // namespace fastcnn
