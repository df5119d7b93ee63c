// The public face of the allocator: takes the lock, leaves the work to caching.cpp.
#include "memory/allocator.h"

#include <utility>

#include "common/check.h"
#include "memory/caching.h"

namespace fastcnn {

Allocator::Allocator(Device device, std::unique_ptr<Source> source)
    : impl_(std::make_unique<Impl>(device, std::move(source))) {}
Allocator::~Allocator() = default;

Device Allocator::device() const { return impl_->device; }

Block Allocator::allocate(size_t bytes, Category initial) {
  StreamSet busy = 0;
  Block block;
  {
    const ForkLock lock(impl_->mutex);
    block = impl_->allocate(bytes, initial, busy);
  }
  if (!busy) return block;
  try {
    impl_->source->wait_for(busy);
  } catch (...) {
    free(block, busy);
    throw;
  }
  return block;
}

void Allocator::free(const Block& block, StreamSet streams) noexcept {
  const ForkLock lock(impl_->mutex);
  impl_->free(block, streams);
}

void Allocator::hold(const Block& block, Category category) {
  const ForkLock lock(impl_->mutex);
  Chunk* c = impl_->live(block);
  if (!c) return;
  ++c->holders[static_cast<size_t>(category)];
  if (impl_->tracing) impl_->record(MemoryEvent::hold, category, *c);
}

void Allocator::drop(const Block& block, Category category) noexcept {
  const ForkLock lock(impl_->mutex);
  Chunk* c = impl_->live(block);
  if (!c || !c->holders[static_cast<size_t>(category)]) return;
  --c->holders[static_cast<size_t>(category)];
  if (impl_->tracing) impl_->record(MemoryEvent::drop, category, *c);
}

MemoryStats Allocator::stats() const {
  const ForkLock lock(impl_->mutex);
  return impl_->stats;
}

void Allocator::reset_peak() {
  const ForkLock lock(impl_->mutex);
  impl_->stats.peak_bytes = impl_->stats.allocated_bytes;
  impl_->stats.peak_reserved_bytes = impl_->stats.reserved_bytes;
}

void Allocator::set_limit(size_t bytes) {
  const ForkLock lock(impl_->mutex);
  impl_->stats.limit_bytes = bytes;
}

void Allocator::empty_cache() {
  const ForkLock lock(impl_->mutex);
  impl_->release_free_segments();
}

void Allocator::add_external(int64_t bytes) noexcept {
  const ForkLock lock(impl_->mutex);
  impl_->stats.external_bytes += static_cast<size_t>(bytes);  // modulo 2^64: a negative number subtracts
}

void Allocator::start_trace() {
  const ForkLock lock(impl_->mutex);
  FC_CHECK(
      !impl_->tracing, "memory: a trace is running on ", to_string(impl_->device),
      ", got another start_trace, expected one trace at a time; leave the first track() before the next");
  impl_->start_trace();
}

std::vector<MemoryEvent> Allocator::stop_trace() {
  const ForkLock lock(impl_->mutex);
  impl_->tracing = false;
  return std::exchange(impl_->events, {});
}

uint64_t Allocator::trace_id(const Block& block) const {
  const ForkLock lock(impl_->mutex);
  const Chunk* c = impl_->tracing ? impl_->live(block) : nullptr;
  return c ? c->trace_id : 0;
}

void Allocator::mark(const std::string& text) {
  const char* kept = intern(text);
  const ForkLock lock(impl_->mutex);
  if (!impl_->tracing) return;
  impl_->events.push_back({MemoryEvent::mark, Category::temporary, 0, 0, 0, impl_->stats.allocated_bytes,
                           kept, current_phase(), current_layer()});
}

void Allocator::set_guard(bool on) {
  const ForkLock lock(impl_->mutex);
  if (on && !impl_->guard) impl_->violations = 0;
  impl_->guard = on;
}

bool Allocator::guard() const {
  const ForkLock lock(impl_->mutex);
  return impl_->guard;
}

uint64_t Allocator::guard_violations() const {
  const ForkLock lock(impl_->mutex);
  return impl_->violations + impl_->broken_live_canaries();
}

}  // namespace fastcnn
