// Scratch memory of one kernel call, given back when the scope ends, also by an exception.
#pragma once

#include "memory/allocator.h"

namespace fastcnn {

class Workspace {
 public:
  Workspace(Device device, size_t bytes) : allocator_(allocator_for(device)) {
    if (bytes) block_ = allocator_.allocate(bytes, Category::workspace);
  }
  ~Workspace() {
    if (block_.rounded) allocator_.free(block_);
  }
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;
  void* data() const { return block_.data; }

 private:
  Allocator& allocator_;
  Block block_;
};

}  // namespace fastcnn
