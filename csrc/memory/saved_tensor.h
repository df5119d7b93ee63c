// A tensor kept for the backward pass.
#pragma once

#include <utility>

#include "memory/storage.h"

namespace fastcnn {

/// Counted as `saved` while it lives, and checked against in-place changes when it is used.
class SavedTensor {
 public:
  explicit SavedTensor(const Tensor& t) : tensor_(t.detach()), version_(t.storage->version) {
    hold(tensor_, Category::saved);
  }
  SavedTensor(SavedTensor&& o) noexcept : tensor_(std::move(o.tensor_)), version_(o.version_) {
    o.tensor_.storage.reset();
  }
  SavedTensor& operator=(SavedTensor&&) = delete;
  ~SavedTensor() {
    if (!tensor_.storage) return;
    drop(tensor_, Category::saved);
    const bool outer = std::exchange(saved_tensor_lets_go, true);
    tensor_.storage.reset();
    saved_tensor_lets_go = outer;
  }

  /// The tensor outside the graph; ValueError naming `function` if it was changed since.
  Tensor unpack(const std::string& function) const {
    FC_CHECK(tensor_.storage->version == version_, "backward of ", function, ": a saved tensor of shape ",
             to_string(tensor_.shape), " was changed in place, got version ", tensor_.storage->version.load(),
             ", expected ", version_, "; change a .clone() instead");
    return tensor_;
  }

 private:
  Tensor tensor_;
  uint32_t version_;
};

}  // namespace fastcnn
