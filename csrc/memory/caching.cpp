// The one caching policy. A request of up to 1 MiB is cut from segments of small requests, a larger one from segments of
// large ones. Where the source can, there is one segment of each kind, which grows by what is missing at its end: a
// network's blocks are of many sizes, and segments that cannot join would hold a third more than is ever in use.
// Elsewhere a segment is as large as the request that made it, rounded up to 2 MiB. The smallest free chunk that holds
// the request is taken, the oldest segment and lowest address among equals, and split; freed chunks merge with free
// neighbours at once, so two free chunks never touch. Segments, and free ends of those that grow, stay until
// empty_cache(), or until memory is short. Which streams are at work on a free chunk decides nothing: whoever takes it
// waits for them.
#include "memory/caching.h"

#include <algorithm>
#include <cstdlib>

#include "common/check.h"
#include "memory/guard.h"

namespace fastcnn {
namespace {

constexpr size_t round_up(size_t bytes, size_t unit) { return (bytes + unit - 1) / unit * unit; }

bool guard_from_environment() {
  const char* value = std::getenv("FASTCNN_MEMORY_GUARD");
  return value && *value && std::string(value) != "0";
}

}  // namespace

Allocator::Impl::Impl(Device d, std::unique_ptr<Source> s)
    : device(d),
      source(std::move(s)),
      touchable(source->touchable()),
      own_blocks(source->exact()),
      guard(guard_from_environment()) {}

Allocator::Impl::~Impl() {
  for (const Segment& s : segments) {
    if (!s.data) continue;
    if (touchable) guard::unpoison(s.data, s.bytes);
    source->release(s.data, s.bytes);
  }
}

// ---- allocate ----

Block Allocator::Impl::allocate(size_t bytes, Category initial, StreamSet& busy) {
  if (bytes == 0) return Block{};
  bool over_limit = false;
  const size_t rounded = bytes > SIZE_MAX / 2 ? SIZE_MAX / 2 : round_up(bytes, kAlignBytes);
  void* own = own_blocks ? source->take_block(bytes) : nullptr;
  const uint32_t index = own_blocks && !own ? kNoChunk : find(rounded, over_limit);
  if (index == kNoChunk) {
    if (own) source->give_block(own);
    throw OutOfMemoryError(out_of_memory(bytes, over_limit));
  }

  Chunk& c = chunks[index];
  c.own = own;
  c.id = ++stats.allocations;
  c.requested = bytes;
  c.rounded = rounded;
  c.holders.fill(0);
  c.holders[static_cast<size_t>(initial)] = 1;
  c.op = current_op();
  c.phase = current_phase();
  c.layer = current_layer();
  c.guarded = guard && touchable;
  const StreamSet own_stream = source->stream();
  if (!own_blocks)
    busy = c.streams & ~own_stream;  // the source waits before it gives a block of its own back
  c.streams = own_stream;
  stats.allocated_bytes += rounded;
  stats.peak_bytes = std::max(stats.peak_bytes, stats.allocated_bytes);
  if (tracing) {
    c.trace_id = ++trace_ids;
    record(MemoryEvent::allocate, initial, c);
  }

  Block block;
  block.data = own_blocks ? own : address(c);
  block.requested = bytes;
  block.rounded = rounded;
  block.id = c.id;
  block.segment = c.segment;
  block.offset = c.offset;
  block.chunk = index;
  if (touchable) {
    guard::unpoison(block.data, rounded);
    if (c.guarded) guard::fill_new(block.data, bytes, rounded);
    guard::poison(static_cast<char*>(block.data) + bytes, rounded - bytes);
  }
  return block;
}

/// A chunk for the request, out of the free set and cut to size; kNoChunk if there is no memory for it.
uint32_t Allocator::Impl::find(size_t rounded, bool& over_limit) {
  over_limit = rounded > stats.limit_bytes || stats.allocated_bytes > stats.limit_bytes - rounded;
  if (over_limit) {
    release_free_segments();
    return kNoChunk;
  }
  const bool large = rounded > kSmallBytes;
  FreeSet& pool = free_[large];
  auto fit = pool.lower_bound(FreeKey{rounded, INT32_MIN, 0, 0});
  if (fit == pool.end()) {
    const uint32_t grown = grow(rounded, large);
    if (grown == kNoChunk) return kNoChunk;
    fit = chunks[grown].place;
  }
  const uint32_t index = fit->chunk;
  const size_t rest = fit->bytes - rounded;
  const bool cut = rest >= kAlignBytes;
  FreeSet::node_type own = cut ? take_node() : FreeSet::node_type{};
  const uint32_t behind = cut ? new_chunk() : kNoChunk;
  FreeSet::node_type node = pool.extract(fit);  // nothing can fail from here on
  if (cut) {
    split(index, behind, rounded);
    insert_free(behind, std::move(node));
    node = std::move(own);
  }
  chunks[index].node = std::move(node);
  return index;
}

uint32_t Allocator::Impl::last_chunk(const Segment& segment) const noexcept {
  uint32_t last = segment.first;
  while (chunks[last].next != kNoChunk) last = chunks[last].next;
  return last;
}

/// A segment made longer, so that its last chunk is free and holds the request; kNoChunk if none can be.
uint32_t Allocator::Impl::extend(size_t rounded, bool large) {
  for (size_t number = 0; source->growable() && number < segments.size(); ++number) {
    if (!segments[number].data || segments[number].large != large) continue;
    uint32_t last = last_chunk(segments[number]);
    const bool free = !chunks[last].id;
    const size_t more = round_up(rounded - (free ? chunks[last].bytes : 0), kSegmentBytes);
    FreeSet::node_type node = take_node();
    const uint32_t fresh = free ? kNoChunk : new_chunk();
    Segment& s = segments[number];
    if (!source->extend(s.data, s.bytes, more)) {
      spare_nodes.push_back(std::move(node));
      if (!free) unused_chunks.push_back(fresh);
      continue;
    }
    if (touchable) guard::poison(static_cast<char*>(s.data) + s.bytes, more);
    if (free) {
      spare_nodes.push_back(free_[large].extract(chunks[last].place));
    } else {
      Chunk& c = chunks[fresh];
      c.offset = s.bytes;
      c.segment = static_cast<int32_t>(number);
      c.previous = last;
      chunks[last].next = fresh;
      last = fresh;
    }
    chunks[last].bytes += more;
    s.bytes += more;
    insert_free(last, std::move(node));
    stats.reserved_bytes += more;
    stats.peak_reserved_bytes = std::max(stats.peak_reserved_bytes, stats.reserved_bytes);
    return last;
  }
  return kNoChunk;
}

/// Room for the request: a longer segment, or a new one with one free chunk.
uint32_t Allocator::Impl::grow(size_t rounded, bool large) {
  const size_t bytes = round_up(rounded, kSegmentBytes);
  const size_t room =
      stats.limit_bytes < SIZE_MAX - kSegmentBytes ? round_up(stats.limit_bytes, kSegmentBytes) : SIZE_MAX;
  if (bytes > room || stats.reserved_bytes > room - bytes) release_free_segments();
  if (const uint32_t longer = extend(rounded, large); longer != kNoChunk) return longer;
  FreeSet::node_type node = take_node();
  const uint32_t index = new_chunk();
  void* data = source->reserve(bytes);
  if (!data) {
    release_free_segments();
    const uint32_t longer = extend(rounded, large);
    if (longer == kNoChunk) data = source->reserve(bytes);
    if (!data) {
      spare_nodes.push_back(std::move(node));
      unused_chunks.push_back(index);
      return longer;
    }
  }
  if (touchable) guard::poison(data, bytes);
  size_t number = 0;  // the lowest that is not in use
  while (number < segments.size() && segments[number].data) ++number;
  if (number == segments.size()) segments.emplace_back();
  segments[number] = Segment{data, bytes, index, large};
  Chunk& c = chunks[index];
  c.bytes = bytes;
  c.segment = static_cast<int32_t>(number);
  insert_free(index, std::move(node));
  stats.reserved_bytes += bytes;
  stats.peak_reserved_bytes = std::max(stats.peak_reserved_bytes, stats.reserved_bytes);
  return index;
}

/// Cuts a chunk to `bytes`; what is left over goes to the chunk `rest` behind it. Neither stands in the free set.
void Allocator::Impl::split(uint32_t index, uint32_t rest, size_t bytes) noexcept {
  Chunk& low = chunks[index];
  Chunk& high = chunks[rest];
  high.offset = low.offset + bytes;
  high.bytes = low.bytes - bytes;
  high.segment = low.segment;
  high.streams = low.streams;
  high.previous = index;
  high.next = low.next;
  if (high.next != kNoChunk) chunks[high.next].previous = rest;
  low.next = rest;
  low.bytes = bytes;
}

void Allocator::Impl::insert_free(uint32_t index, FreeSet::node_type node) noexcept {
  Chunk& c = chunks[index];
  node.value() = FreeKey{c.bytes, c.segment, c.offset, index};
  c.place = free_[segments[static_cast<size_t>(c.segment)].large].insert(std::move(node)).position;
}

FreeSet::node_type Allocator::Impl::take_node() {
  if (spare_nodes.empty()) {
    FreeSet one;
    one.insert(FreeKey{});
    return one.extract(one.begin());
  }
  FreeSet::node_type node = std::move(spare_nodes.back());
  spare_nodes.pop_back();
  return node;
}

uint32_t Allocator::Impl::new_chunk() {
  if (unused_chunks.empty()) {
    chunks.emplace_back();
    unused_chunks.reserve(chunks.capacity());  // so that giving one back allocates nothing
    spare_nodes.reserve(chunks.capacity());
    return static_cast<uint32_t>(chunks.size() - 1);
  }
  const uint32_t index = unused_chunks.back();
  unused_chunks.pop_back();
  chunks[index] = Chunk{};
  return index;
}

// ---- free ----

Chunk* Allocator::Impl::live(const Block& block) noexcept {
  if (!block.id || block.chunk >= chunks.size()) return nullptr;
  Chunk& c = chunks[block.chunk];
  return c.id == block.id ? &c : nullptr;
}

void Allocator::Impl::free(const Block& block, StreamSet streams) noexcept {
  Chunk* c = live(block);
  if (!c) {
    if (block.id) ++violations;  // freed before
    return;
  }
  if (touchable) {
    guard::unpoison(block.data, c->rounded);
    if (c->guarded && !guard::canary_intact(block.data, c->requested, c->rounded)) ++violations;
    if (guard) guard::fill_freed(block.data, c->rounded);
    guard::poison(block.data, c->bytes);
  }
  if (own_blocks) source->give_block(c->own);
  stats.allocated_bytes -= c->rounded;
  if (tracing) record(MemoryEvent::free, strongest(c->holders), *c);
  c->id = 0;
  c->streams |= streams;

  FreeSet::node_type node = std::move(c->node);
  uint32_t index = block.chunk;
  const uint32_t previous = c->previous, next = c->next;
  FreeSet& pool = free_[segments[static_cast<size_t>(c->segment)].large];
  if (next != kNoChunk && !chunks[next].id) {
    spare_nodes.push_back(pool.extract(chunks[next].place));
    absorb(index, next);
  }
  if (previous != kNoChunk && !chunks[previous].id) {
    spare_nodes.push_back(pool.extract(chunks[previous].place));
    absorb(previous, index);
    index = previous;
  }
  insert_free(index, std::move(node));
}

/// Joins the chunk `high` to its lower neighbour. Neither stands in the free set.
void Allocator::Impl::absorb(uint32_t low_index, uint32_t high_index) noexcept {
  Chunk& low = chunks[low_index];
  const Chunk& high = chunks[high_index];
  low.bytes += high.bytes;
  low.streams |= high.streams;
  low.next = high.next;
  if (low.next != kNoChunk) chunks[low.next].previous = low_index;
  unused_chunks.push_back(high_index);
}

void Allocator::Impl::release_free_segments() noexcept {
  for (Segment& s : segments) {
    if (!s.data) continue;
    Chunk& c = chunks[s.first];
    if (c.id || c.next != kNoChunk) {
      if (source->growable()) shrink(s);
      continue;
    }
    spare_nodes.push_back(free_[s.large].extract(c.place));
    unused_chunks.push_back(s.first);
    if (touchable) guard::unpoison(s.data, s.bytes);
    source->release(s.data, s.bytes);
    stats.reserved_bytes -= s.bytes;
    s = Segment{};
  }
}

/// Gives the free end of a segment back, which is not all of it.
void Allocator::Impl::shrink(Segment& s) noexcept {
  const uint32_t last = last_chunk(s);
  Chunk& c = chunks[last];
  const size_t kept = round_up(c.offset, kSegmentBytes), less = s.bytes - std::min(s.bytes, kept);
  if (c.id || less == 0) return;
  FreeSet::node_type node = free_[s.large].extract(c.place);
  if (kept > c.offset) {
    c.bytes = kept - c.offset;
    insert_free(last, std::move(node));
  } else {
    chunks[c.previous].next = kNoChunk;
    spare_nodes.push_back(std::move(node));
    unused_chunks.push_back(last);
  }
  if (touchable) guard::unpoison(static_cast<char*>(s.data) + kept, less);
  source->shrink(s.data, s.bytes, less);
  s.bytes = kept;
  stats.reserved_bytes -= less;
}

// ---- trace and guard ----

void Allocator::Impl::record(MemoryEvent::Kind kind, Category category, const Chunk& c) noexcept {
  try {
    events.push_back({kind, category, c.trace_id, c.requested, c.rounded, stats.allocated_bytes, current_op(),
                      current_phase(), current_layer()});
  } catch (...) {  // no memory for the trace itself: a trace with a hole would lie, so there is none
    tracing = false;
    events.clear();
  }
}

void Allocator::Impl::start_trace() {
  events.clear();
  trace_ids = 0;
  size_t running = 0;
  for (const Segment& s : segments) {
    for (uint32_t i = s.first; i != kNoChunk; i = chunks[i].next) {
      Chunk& c = chunks[i];
      if (!c.id) continue;
      c.trace_id = ++trace_ids;
      running += c.rounded;
      const Category first = strongest(c.holders);
      events.push_back(
          {MemoryEvent::allocate, first, c.trace_id, c.requested, c.rounded, running, c.op, c.phase});
      Holders others = c.holders;
      if (others[static_cast<size_t>(first)]) --others[static_cast<size_t>(first)];
      for (int k = 0; k < kCategories; ++k)
        for (uint32_t n = 0; n < others[static_cast<size_t>(k)]; ++n)
          events.push_back({MemoryEvent::hold, static_cast<Category>(k), c.trace_id, c.requested, c.rounded,
                            running, c.op, c.phase});
    }
  }
  tracing = true;
}

uint64_t Allocator::Impl::broken_live_canaries() const {
  uint64_t broken = 0;
  for (const Chunk& c : chunks) {
    if (!c.id || !c.guarded) continue;
    const char* slack = address(c) + c.requested;
    guard::unpoison(slack, c.rounded - c.requested);
    if (!guard::canary_intact(address(c), c.requested, c.rounded)) ++broken;
    guard::poison(slack, c.rounded - c.requested);
  }
  return broken;
}

}  // namespace fastcnn
