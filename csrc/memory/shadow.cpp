#include "memory/shadow.h"

#include "memory/kept.h"

namespace fastcnn {

/// One twin per storage; a converted tensor has one of its own, told apart by its offset.
std::shared_ptr<Storage> Shadow::twin_storage(const Tensor& t, size_t bytes, Category category,
                                              int64_t offset) {
  std::weak_ptr<Storage>& slot = storages_[{t.storage.get(), offset}];
  if (std::shared_ptr<Storage> known = slot.lock()) {
    if (auto* s = dynamic_cast<AllocatedStorage*>(known.get())) allocator_for(twin_).hold(s->block, category);
    return known;
  }
  std::shared_ptr<Storage> known;
  if (dynamic_cast<const BorrowedStorage*>(t.storage.get())) {  // not counted there, not counted here
    auto borrowed = std::make_shared<BorrowedStorage>();
    borrowed->device = twin_;
    borrowed->bytes = bytes;
    borrowed->readonly = t.storage->readonly;
    allocator_for(twin_).add_external(int64_t(bytes));
    known = std::move(borrowed);
  } else {
    known = new_storage(twin_, bytes, category);
    if (offset < 0) copy_kept(*t.storage, *known);
  }
  slot = known;
  return known;
}

void Shadow::add(Tensor& t, Category category, std::optional<DType> dtype) {
  if (!known_.insert(&t).second) return;
  const bool convert = dtype && is_float(t.dtype) && *dtype != t.dtype;
  const Dims strides = convert ? strides_like(t) : t.strides;
  std::shared_ptr<Storage> storage =
      convert ? twin_storage(t, size_t(t.numel()) * size_of(*dtype), category, t.offset)
              : twin_storage(t, t.storage->bytes, category, -1);
  originals_.push_back({&t, t});
  t.storage = std::move(storage);
  t.grad.reset();
  if (!convert) return;
  t.offset = 0;
  t.strides = strides;
  t.dtype = *dtype;
}

void Shadow::restore() noexcept {
  for (const Original& o : originals_) *o.tensor = o.value;
  originals_.clear();
  known_.clear();
  storages_.clear();
}

}  // namespace fastcnn
