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

struct AllocatedStorage final : Storage {
  Block block;
  std::weak_ptr<Heir> heir;
  std::vector<std::shared_ptr<Kept>> kept;  ///< memory/kept.h, which guards it
  ~AllocatedStorage() override {
    if (const std::shared_ptr<Heir> waiting = heir.lock()) waiting->inherit(*this);
    allocator_for(device).free(block);
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
  return storage;
}

/// Borrowed memory: `release` runs when the last view is gone. Counted as external, outside the peak.
struct BorrowedStorage final : Storage {
  std::shared_ptr<void> owner;
  ~BorrowedStorage() override { allocator_for(device).add_external(-int64_t(bytes)); }
};

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
