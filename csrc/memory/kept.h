// What an op derives from a tensor's values and keeps beside the tensor, such as packed filters: made once for each
// version of the values, used again until they change, freed with them. It is memory of the tensor's device like any
// other: counted, tagged `layout`, and the same on a meta twin.
#pragma once

#include <atomic>
#include <string>

#include "memory/storage.h"

namespace fastcnn {

/// What tells one derived thing from another, beside the tensor's own place, shape and strides.
struct KeptKey {
  const char* maker;  ///< a literal: which op or algorithm
  std::string isa;    ///< whose layout it is
  uint64_t layout;    ///< the maker's own number for how it is laid out
  size_t bytes;
};

/// Whether something may be kept for `t`: its memory is of our allocator, and nobody outside can write to it.
bool may_keep(const Tensor& t);
/// Whether no other tensor, array or heir sees any of t's memory, and t is all of it: an op that is done with t may give
/// the memory to its result.
bool is_alone(const Tensor& t);
/// Frees what is kept for the memory.
void forget_kept(Storage& storage);

/// The values were written: a new version, for which nothing is kept.
inline void changed(const Tensor& t) {
  ++t.storage->version;
  if (t.storage->keeps.load(std::memory_order_relaxed)) forget_kept(*t.storage);
}

/// Counts as one of the storage's views while it lives: NumPy's and DLPack's hold on the memory.
class SharedView {
 public:
  explicit SharedView(std::shared_ptr<Storage> storage);
  ~SharedView() { --storage_->views; }
  SharedView(const SharedView&) = delete;
  SharedView& operator=(const SharedView&) = delete;

 private:
  std::shared_ptr<Storage> storage_;
};

/// One use of the derived memory, which is found or allocated. If it is not `filled`, the owner fills it and says so
/// with `done`; otherwise it is forgotten again. While one thread fills it, others get memory of their own.
class KeptUse {
 public:
  KeptUse() = default;
  KeptUse(const Tensor& t, const KeptKey& key);
  KeptUse(const KeptUse&) = delete;
  KeptUse& operator=(const KeptUse&) = delete;
  ~KeptUse();

  void* data() const { return memory_ ? memory_->data : nullptr; }
  bool filled() const { return filled_; }
  void done();

 private:
  std::shared_ptr<Storage> owner_, memory_;
  std::shared_ptr<Kept> entry_;  // ours to fill, in the owner's list
  bool filled_ = false;
};

/// Lets a twin's memory keep as much as the original does (memory/shadow.h).
void copy_kept(const Storage& from, Storage& to);

}  // namespace fastcnn
