// What a trace says. A trace alone is enough to know, at any instant, how many bytes each category holds: no
// state of the allocator is needed, so a trace of a meta twin is a whole memory report.
#pragma once

#include <array>
#include <unordered_map>

#include "memory/allocator.h"

namespace fastcnn {

using Holders = std::array<uint32_t, kCategories>;

/// The strongest category with a holder; temporary if there is none.
Category strongest(const Holders& holders);

/// Replays a trace, event by event.
class Replay {
 public:
  void apply(const MemoryEvent& event);
  /// Bytes in rounded blocks by category after the events so far; their sum is allocated().
  const std::array<size_t, kCategories>& by_category() const { return bytes_; }
  size_t allocated() const { return allocated_; }
  size_t live_blocks() const { return live_.size(); }

 private:
  struct Live {
    size_t rounded;
    Holders holders;
  };
  std::unordered_map<uint64_t, Live> live_;
  std::array<size_t, kCategories> bytes_{};
  size_t allocated_ = 0;
};

}  // namespace fastcnn
