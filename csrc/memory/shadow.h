// Exchanges tensors' memory for memory of a twin and back: what a dry run does with a model, so that the very
// same Python objects run without anything of theirs being read or written.
#pragma once

#include <map>
#include <optional>
#include <unordered_set>
#include <vector>

#include "memory/storage.h"

namespace fastcnn {

class Shadow {
 public:
  explicit Shadow(Device twin) : twin_(twin) {}
  Shadow(const Shadow&) = delete;
  Shadow& operator=(const Shadow&) = delete;
  ~Shadow() { restore(); }

  /// From now on `t` means memory of the twin: as many bytes, the same strides, shared with the other tensors
  /// that share its memory, without gradient. `dtype` replaces a float dtype. `t` must live until restore().
  void add(Tensor& t, Category category, std::optional<DType> dtype);
  /// Every tensor means its own memory and has its own gradient again.
  void restore() noexcept;

 private:
  struct Original {
    Tensor* tensor;
    Tensor value;
  };
  std::shared_ptr<Storage> twin_storage(const Tensor& t, size_t bytes, Category category, int64_t offset);

  Device twin_;
  std::vector<Original> originals_;
  std::unordered_set<Tensor*> known_;
  // Not owners: an op may ask how many tensors share a storage.
  std::map<std::pair<Storage*, int64_t>, std::weak_ptr<Storage>> storages_;
};

}  // namespace fastcnn
