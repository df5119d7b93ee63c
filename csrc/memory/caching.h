// State of an allocator: segments cut into chunks. See caching.cpp for the policy.
#pragma once

#include <set>

#include "memory/fork_mutex.h"
#include "memory/trace.h"

namespace fastcnn {

constexpr uint32_t kNoChunk = UINT32_MAX;

/// Order of best fit: no pointer takes part, so that it is the same on every device and in every run.
struct FreeKey {
  size_t bytes;
  int32_t segment;
  size_t offset;
  uint32_t chunk;  ///< not part of the order
  bool operator<(const FreeKey& o) const {
    if (bytes != o.bytes) return bytes < o.bytes;
    if (segment != o.segment) return segment < o.segment;
    return offset < o.offset;
  }
};
using FreeSet = std::set<FreeKey>;

/// A stretch of a segment, in use or free; a segment is a list of them without gaps.
struct Chunk {
  size_t offset = 0, bytes = 0;
  int32_t segment = 0;
  uint32_t previous = kNoChunk, next = kNoChunk;  ///< neighbours in the segment
  FreeSet::iterator place;                        ///< while free
  FreeSet::node_type node;  ///< while in use: the place it will take, so that free() allocates nothing
  StreamSet streams = 0;    ///< that may be at work on it: of the block in it, or of those freed in it
  // of the block in it
  uint64_t id = 0;  ///< number of the allocation; 0 = free
  uint64_t trace_id = 0;
  size_t requested = 0, rounded = 0;
  Holders holders{};
  const char* op = "";
  const char* phase = "";
  uint32_t layer = 0;
  bool guarded = false;
  void* own = nullptr;  ///< the block's memory where the source is exact
};

struct Segment {
  void* data = nullptr;  ///< nullptr = number not in use
  size_t bytes = 0;
  uint32_t first = kNoChunk;  ///< the chunk at offset 0
  bool large = false;
};

struct Allocator::Impl {
  Impl(Device d, std::unique_ptr<Source> s);
  ~Impl();

  // Everything below is called with the mutex held.
  /// `busy`: streams that the caller's has to wait for.
  Block allocate(size_t bytes, Category initial, StreamSet& busy);
  void free(const Block& block, StreamSet streams) noexcept;
  Chunk* live(const Block& block) noexcept;  ///< nullptr for an empty block or one that does not live
  void release_free_segments() noexcept;
  void start_trace();
  void record(MemoryEvent::Kind kind, Category category, const Chunk& chunk) noexcept;
  uint64_t broken_live_canaries() const;
  /// The text of OutOfMemoryError (report.cpp).
  std::string out_of_memory(size_t requested, bool over_limit) const;

  mutable ForkMutex mutex;
  const Device device;
  const std::unique_ptr<Source> source;
  const bool touchable, own_blocks;
  MemoryStats stats;
  std::vector<Segment> segments;
  std::vector<Chunk> chunks;
  bool tracing = false;
  bool guard = false;

 private:
  uint32_t find(size_t rounded, bool& over_limit);
  uint32_t grow(size_t rounded, bool large);
  uint32_t extend(size_t rounded, bool large);
  void shrink(Segment& segment) noexcept;
  uint32_t last_chunk(const Segment& segment) const noexcept;
  void split(uint32_t chunk, uint32_t rest, size_t bytes) noexcept;
  void insert_free(uint32_t chunk, FreeSet::node_type node) noexcept;
  FreeSet::node_type take_node();
  void absorb(uint32_t low, uint32_t high) noexcept;
  uint32_t new_chunk();
  char* address(const Chunk& c) const {
    return static_cast<char*>(segments[size_t(c.segment)].data) + c.offset;
  }

  FreeSet free_[2];                             // [0] small, [1] large
  std::vector<FreeSet::node_type> spare_nodes;  // so that a split and a merge allocate nothing
  std::vector<uint32_t> unused_chunks;

 public:
  std::vector<MemoryEvent> events;
  uint64_t trace_ids = 0;
  uint64_t violations = 0;
};

}  // namespace fastcnn
