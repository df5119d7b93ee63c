// Scratch memory of one op, given back when the scope ends, by return or by exception.
#pragma once

#include <utility>

#include "memory/allocator.h"

namespace fastcnn {

class Workspace {
 public:
  Workspace() = default;
  Workspace(Device device, size_t bytes)
      : allocator_(&allocator_for(device)), block_(allocator_->allocate(bytes, Category::workspace)) {}
  Workspace(Workspace&& o) noexcept : allocator_(o.allocator_), block_(o.block_) { o.allocator_ = nullptr; }
  Workspace& operator=(Workspace&& o) noexcept {
    std::swap(allocator_, o.allocator_);
    std::swap(block_, o.block_);
    return *this;
  }
  ~Workspace() {
    if (allocator_) allocator_->free(block_);
  }

  /// nullptr when it has no bytes.
  void* data() const { return block_.data; }
  size_t bytes() const { return block_.requested; }
  /// `offset` in bytes from the start; the start is aligned to Allocator::kAlignBytes.
  template <class T>
  T* as(size_t offset = 0) const {
    return block_.data ? reinterpret_cast<T*>(static_cast<char*>(block_.data) + offset) : nullptr;
  }

 private:
  Allocator* allocator_ = nullptr;
  Block block_;
};

}  // namespace fastcnn
