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

/// One line of the trace. `op` and `phase` are interned, so pointers stay valid for the process.
struct MemoryEvent {
  enum Kind : uint8_t { allocate, free, hold, drop, mark } kind;
  Category category;  ///< allocate: the initial holder; hold/drop: the holder that came or went
  uint64_t id;        ///< block number since the trace began; for `mark` 0
  size_t requested, rounded;
  size_t allocated_after;  ///< allocated_bytes once the event is done
  const char* op;          ///< "conv2d.forward"; for `mark` its text (layer paths, step boundaries)
  const char* phase;       ///< "forward", "backward", "optimizer", ""
};

struct Block {
  void* data = nullptr;  ///< nullptr when bytes == 0
  size_t requested = 0, rounded = 0;
  uint64_t id = 0;
  int32_t segment = -1;
  size_t offset = 0;
};

/// Where segments come from.
class Source {
 public:
  virtual ~Source() = default;
  /// Returns kSegmentBytes-aligned memory, or nullptr when there is none.
  virtual void* reserve(size_t bytes) = 0;
  virtual void release(void* data, size_t bytes) = 0;
  /// False for addresses that must never be read or written (meta).
  virtual bool touchable() const { return true; }
};

struct MemoryStats {
  size_t allocated_bytes = 0, peak_bytes = 0, reserved_bytes = 0, peak_reserved_bytes = 0;
  size_t limit_bytes = SIZE_MAX;
  uint64_t allocations = 0;
  size_t external_bytes = 0;  ///< borrowed memory (from_numpy, DLPack), outside the peak
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

  /// Throws OutOfMemoryError (requested, in use, limit, the biggest holders) and changes nothing if it fails.
  Block allocate(size_t bytes, Category initial = Category::temporary);
  void free(const Block& block) noexcept;

  /// A holder came or went (a Parameter was made, a tensor was saved for backward ...).
  void hold(const Block& block, Category category);
  void drop(const Block& block, Category category) noexcept;

  MemoryStats stats() const;
  void reset_peak();
  void set_limit(size_t bytes);
  /// Gives every wholly free segment back to the source.
  void empty_cache();
  void add_external(int64_t bytes) noexcept;

  /// Trace of all events since start_trace; ids restart at 1 for the blocks allocated from then on
  /// (blocks that already live are listed first, as `allocate` events in address order).
  void start_trace();
  std::vector<MemoryEvent> stop_trace();
  void mark(const std::string& text);

  /// Guard mode (tests, sanitizers; same accounting): new and freed blocks are filled with a NaN pattern, the
  /// slack behind `requested` carries a canary checked on free. Also FASTCNN_MEMORY_GUARD=1.
  void set_guard(bool on);
  bool guard() const;
  /// Number of canaries found broken since the guard was switched on.
  uint64_t guard_violations() const;

  Device device() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// The allocator of a device; made on first use, lives as long as the process (never destroyed, so that
/// tensors may outlive static destruction).
Allocator& allocator_for(Device device);

/// Names the op (and phase) that the current thread's allocations belong to.
class OpScope {
 public:
  explicit OpScope(const char* op);
  ~OpScope();

 private:
  const char* previous_;
};
const char* current_op();
void set_phase(const std::string& phase);
const char* current_phase();

}  // namespace fastcnn
