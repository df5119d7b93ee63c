// The one allocator class. Every byte of every device comes from `Allocator::allocate`, on the CPU, on CUDA
// and on the meta twins, which run the same policy over addresses that are never touched. That is what makes
// the memory estimate exact: it is the same sequence of calls, with the same rounding, splitting and
// coalescing (memory/caching.cpp), read from the same counters.
//
// Policy. Sizes are rounded up to kAlignBytes. Blocks are carved out of segments obtained from a Source:
// requests up to kSmallBytes share 2 MiB segments, larger ones get segments of their own, rounded to 2 MiB.
// Free blocks are found by best fit in the order (size, segment number, offset), split, and merged with free
// neighbours when they come back. No decision depends on a pointer value or on a clock.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/device.h"

namespace fastcnn {

/// Why a block is alive; the strongest holder (lowest value) at an instant names its category there.
/// A block without holders is temporary.
enum class Category : uint8_t {
  parameter,
  gradient,
  optimizer,
  buffer,
  saved,
  batch,
  workspace,
  layout,
  temporary
};
constexpr int kCategories = 9;
const char* name_of(Category c);
/// ValueError that lists the names.
Category parse_category(const std::string& name);

/// One line of the trace. `op` and `phase` are interned, so pointers stay valid for the process.
struct MemoryEvent {
  enum Kind : uint8_t { allocate, free, hold, drop, mark } kind;
  Category category;  ///< allocate: the initial holder; hold/drop: the holder that came or went
  uint64_t id;        ///< block number since the trace began; for `mark` 0
  size_t requested, rounded;
  size_t allocated_after;  ///< allocated_bytes once the event is done
  const char* op;          ///< "conv2d.forward"; for `mark` its text (layer paths, step boundaries)
  const char* phase;       ///< "forward", "backward", "optimizer", ""
  uint32_t layer = 0;      ///< number of the layer that caused it (LayerScope); 0 = none

  /// Equal in every field. Events hold no addresses, so traces of one step on two devices compare equal.
  bool operator==(const MemoryEvent& o) const {
    return kind == o.kind && category == o.category && id == o.id && requested == o.requested &&
           rounded == o.rounded && allocated_after == o.allocated_after && op == o.op && phase == o.phase &&
           layer == o.layer;
  }
  bool operator!=(const MemoryEvent& o) const { return !(*this == o); }
};
const char* name_of(MemoryEvent::Kind kind);

struct Block {
  void* data = nullptr;  ///< nullptr when bytes == 0; such a block takes no memory and has no events
  size_t requested = 0, rounded = 0;
  uint64_t id = 0;  ///< number of the allocation, never used twice; 0 when bytes == 0
  int32_t segment = -1;
  size_t offset = 0;
  uint32_t chunk = 0;  ///< the allocator's own index
};

/// Streams of a card, a bit each (cuda/streams.h); 0 on devices that have none.
using StreamSet = uint64_t;

/// Where segments come from.
class Source {
 public:
  virtual ~Source() = default;
  /// Returns kSegmentBytes-aligned memory, or nullptr when there is none.
  virtual void* reserve(size_t bytes) = 0;
  virtual void release(void* data, size_t bytes) = 0;
  /// Whether segments can change their size where they lie.
  virtual bool growable() const { return false; }
  /// Adds `more` bytes (whole units of kSegmentBytes) to the end of a segment of `bytes`; false if it cannot.
  virtual bool extend(void*, size_t /*bytes*/, size_t /*more*/) { return false; }
  /// Takes the last `less` bytes of a segment of `bytes` back.
  virtual void shrink(void*, size_t /*bytes*/, size_t /*less*/) noexcept {}
  /// False for addresses that the host must not read or write (meta, CUDA).
  virtual bool touchable() const { return true; }
  /// True if segments are addresses only, and each block has memory of its own, of exactly the size asked for, so
  /// that an access past its end is seen (emulated CUDA). Accounting, sizes and order are those of segments.
  virtual bool exact() const { return false; }
  virtual void* take_block(size_t) { return nullptr; }
  virtual void give_block(void*) noexcept {}
  /// The stream that the calling thread gives its work to.
  virtual StreamSet stream() { return 0; }
  /// That stream goes on once these have done what they were given.
  virtual void wait_for(StreamSet) {}
};

struct MemoryStats {
  size_t allocated_bytes = 0, peak_bytes = 0, reserved_bytes = 0, peak_reserved_bytes = 0;
  size_t limit_bytes = SIZE_MAX;
  uint64_t allocations = 0;
  size_t external_bytes = 0;  ///< borrowed memory (from_numpy, DLPack, pinned), outside the peak
};

class Allocator {
 public:
  static constexpr size_t kAlignBytes = 512;
  static constexpr size_t kSegmentBytes = size_t{2} << 20;
  static constexpr size_t kSmallBytes = size_t{1} << 20;

  Allocator(Device device, std::unique_ptr<Source> source);
  ~Allocator();
  Allocator(const Allocator&) = delete;
  Allocator& operator=(const Allocator&) = delete;

  /// Throws OutOfMemoryError (requested, in use, limit, the biggest holders) if it fails; then nothing has
  /// changed but that wholly free segments went back to the source.
  ///
  /// On a card the block is for the calling thread's stream: that stream waits, without the host, for the streams
  /// that were at work on the memory when it was freed. So streams change neither what is taken nor what is counted.
  Block allocate(size_t bytes, Category initial = Category::temporary);
  /// `streams` may still be at work on the block, beside the one that it was allocated for.
  void free(const Block& block, StreamSet streams = 0) noexcept;

  /// A holder came or went (a Parameter was made, a tensor was saved for backward ...). `initial` above
  /// counts as one. Dropping what does not hold is ignored.
  void hold(const Block& block, Category category);
  void drop(const Block& block, Category category) noexcept;

  MemoryStats stats() const;
  void reset_peak();
  /// Bounds allocated_bytes, the count that peak_bytes and the estimate speak of: a limit of exactly the
  /// predicted peak suffices. Free segments go back to the source before reserved_bytes passes it.
  void set_limit(size_t bytes);
  /// Gives every wholly free segment back to the source.
  void empty_cache();
  void add_external(int64_t bytes) noexcept;

  /// Trace of all events since start_trace (ValueError if one is running); ids restart at 1 for the blocks
  /// allocated from then on (blocks that already live are listed first, as `allocate` events in address
  /// order).
  void start_trace();
  std::vector<MemoryEvent> stop_trace();
  /// The block's number in the running trace; 0 if it does not live or no trace runs.
  uint64_t trace_id(const Block& block) const;
  void mark(const std::string& text);

  /// Guard mode (tests, sanitizers; same accounting): new and freed blocks are filled with a NaN pattern, the
  /// slack behind `requested` carries a canary checked on free. Also FASTCNN_MEMORY_GUARD=1.
  void set_guard(bool on);
  bool guard() const;
  /// Number of canaries found broken since the guard was switched on, in freed and in live blocks, and of
  /// blocks freed twice. An overrun is seen only where requested < rounded.
  uint64_t guard_violations() const;

  Device device() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// The allocator of a device; made on first use, lives as long as the process (never destroyed, so that
/// tensors may outlive static destruction).
Allocator& allocator_for(Device device);

/// A twin of `base` that nobody else uses, without memory: what a dry run runs on. ValueError when all are lent.
Device acquire_twin(Device base);
/// Gives it back; a trace that runs on it ends.
void release_twin(Device twin);

/// The same text at one address for the life of the process.
const char* intern(const std::string& text);

/// Names the op (and phase) that the current thread's allocations belong to, and times it if somebody asked
/// (memory/op_clock.h).
class OpScope {
 public:
  explicit OpScope(const char* op);
  ~OpScope();
  OpScope(const OpScope&) = delete;
  OpScope& operator=(const OpScope&) = delete;

 private:
  friend void note_op(const char* text);
  static bool clock_runs();
  void begin();
  void end();

  const char* previous_;
  uint32_t recording_ = 0;  // of the clock; 0 if it does not run
  int64_t start_ns_ = 0, inner_ns_ = 0;
  OpScope* parent_ = nullptr;
  const char* note_ = "";
};
const char* current_op();
void set_phase(const std::string& phase);
const char* current_phase();

/// The layer that the current thread runs, by a number whose meaning is the caller's; returns the one before.
uint32_t set_layer(uint32_t layer);
uint32_t current_layer();

}  // namespace fastcnn
