// Storages whose memory comes from the device's allocator.
#pragma once

#include <memory>
#include <vector>

#include "common/tensor.h"
#include "memory/allocator.h"

namespace fastcnn {

class Kept;
struct AllocatedStorage;

/// Wants something of a storage's contents when everybody else has let go of it.
struct Heir {
  virtual ~Heir() = default;
  /// The contents are still there; taking `dying.block` (and leaving an empty one) keeps them. Called once.
  virtual void inherit(AllocatedStorage& dying) noexcept = 0;
};

/// True once the process has made a stream of its own: before that there is nothing to note.
inline std::atomic<bool> streams_exist{false};

/// Knows the streams that may be at work on the memory, which are waited for before somebody else gets it.
struct StreamedStorage : Storage {
  std::atomic<StreamSet> streams{0};
};
/// The calling thread's stream is about to work on this; nothing on devices without streams.
void note_stream(StreamedStorage& storage);

struct AllocatedStorage final : StreamedStorage {
  Block block;
  std::weak_ptr<Heir> heir;
  std::vector<std::shared_ptr<Kept>> kept;  ///< memory/kept.h, which guards it
  ~AllocatedStorage() override {
    if (const std::shared_ptr<Heir> waiting = heir.lock()) waiting->inherit(*this);
    allocator_for(device).free(block, streams.load());
  }
};

/// True on this thread while a SavedTensor lets go: backward has passed the one who kept it, or the graph dies.
inline thread_local bool saved_tensor_lets_go = false;

inline std::shared_ptr<Storage> new_storage(Device device, size_t bytes, Category category) {
  Allocator& allocator = allocator_for(device);  // throws before there is a storage to give back
  auto storage = std::make_shared<AllocatedStorage>();
  storage->device = device;
  storage->bytes = bytes;
  storage->block = allocator.allocate(bytes, category);
  storage->data = storage->block.data;
  if (streams_exist.load(std::memory_order_relaxed)) note_stream(*storage);
  return storage;
}

/// Borrowed memory: `owner` is let go of when the last view is gone, on a card once its work on the memory is done.
/// Counted as external, outside the peak.
struct BorrowedStorage final : StreamedStorage {
  std::shared_ptr<void> owner;
  ~BorrowedStorage() override;
};

/// Page-locked memory of the host. It is borrowed from an allocator of its own, which works as the others do and is not
/// counted with the CPU's. Whoever starts a copy that goes on lets the stream hold the storage until it is done
/// (CudaMemory::drop_after), so a block that comes back is idle. DeviceError if there is no card.
std::shared_ptr<Storage> new_pinned_storage(size_t bytes);
Allocator& pinned_allocator();
/// Without the memory of copies that are done by now.
MemoryStats pinned_stats();

/// Tells the trace that a holder of `t`'s memory came or went; borrowed memory is not traced.
inline void hold(const Tensor& t, Category category) {
  if (auto* s = dynamic_cast<AllocatedStorage*>(t.storage.get()))
    allocator_for(s->device).hold(s->block, category);
}
inline void drop(const Tensor& t, Category category) noexcept {
  if (auto* s = dynamic_cast<AllocatedStorage*>(t.storage.get()))
    allocator_for(s->device).drop(s->block, category);
}

}  // namespace fastcnn
