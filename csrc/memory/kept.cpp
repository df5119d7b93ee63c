#include "memory/kept.h"

#include <algorithm>
#include <utility>

#include "memory/fork_mutex.h"

namespace fastcnn {

class Kept {
 public:
  KeptKey key;
  Dims shape, strides;
  int64_t offset;
  uint32_t version;
  std::shared_ptr<Storage> memory;
  bool filled = false;

  Kept(const Tensor& t, const KeptKey& key)
      : key(key), shape(t.shape), strides(t.strides), offset(t.offset), version(t.storage->version) {}
  bool is_for(const Tensor& t, const KeptKey& k) const {
    return key.maker == k.maker && key.layout == k.layout && key.bytes == k.bytes && offset == t.offset &&
           shape == t.shape && strides == t.strides && key.isa == k.isa;
  }
};

namespace {

constexpr size_t kMostKept = 4;  // per storage: one filter under several problems, or views of one memory

// Guards every `kept` list. Memory is given back only after it is released: the allocator has a mutex of its own.
ForkMutex& mutex() {
  static auto* m = new ForkMutex;
  return *m;
}

using List = std::vector<std::shared_ptr<Kept>>;

List& list_of(Storage& storage) { return static_cast<AllocatedStorage&>(storage).kept; }

}  // namespace

bool may_keep(const Tensor& t) {
  return t.storage->views.load() == 0 && dynamic_cast<AllocatedStorage*>(t.storage.get());
}

bool is_alone(const Tensor& t) {
  const auto* s = dynamic_cast<const AllocatedStorage*>(t.storage.get());
  return s && t.storage.use_count() == 1 && s->heir.expired() && s->views.load() == 0 && t.is_dense() &&
         size_t(t.numel()) * size_of(t.dtype) == s->bytes;
}

void forget_kept(Storage& storage) {
  List gone;
  const ForkLock lock(mutex());
  if (!storage.keeps.load()) return;
  storage.keeps = false;
  gone.swap(list_of(storage));
}

SharedView::SharedView(std::shared_ptr<Storage> storage) : storage_(std::move(storage)) {
  ++storage_->views;
  forget_kept(*storage_);
}

KeptUse::KeptUse(const Tensor& t, const KeptKey& key) : owner_(t.storage) {
  List& list = list_of(*owner_);
  {
    List stale;  // freed behind the lock
    const ForkLock lock(mutex());
    const auto is_stale = [&](const auto& e) { return e->version != owner_->version; };
    const auto first =
        std::stable_partition(list.begin(), list.end(), [&](const auto& e) { return !is_stale(e); });
    stale.assign(first, list.end());
    list.erase(first, list.end());
    for (const auto& e : list) {
      if (!e->is_for(t, key)) continue;
      if (!e->filled) break;  // another thread is at it
      memory_ = e->memory;
      filled_ = true;
      return;
    }
  }
  memory_ = new_storage(owner_->device, key.bytes, Category::layout);
  auto entry = std::make_shared<Kept>(t, key);
  entry->memory = memory_;
  std::shared_ptr<Kept> oldest;
  const ForkLock lock(mutex());
  for (const auto& e : list)
    if (e->is_for(t, key)) return;
  if (list.size() == kMostKept) {
    oldest = std::move(list.front());
    list.erase(list.begin());
  }
  list.push_back(entry);
  owner_->keeps = true;
  entry_ = std::move(entry);
}

void KeptUse::done() {
  if (!entry_) return;
  const ForkLock lock(mutex());
  entry_->filled = true;
  entry_.reset();  // the list or memory_ holds on
}

KeptUse::~KeptUse() {
  if (!entry_) return;
  std::shared_ptr<Kept> gone;
  const ForkLock lock(mutex());
  List& list = list_of(*owner_);
  const auto at = std::find(list.begin(), list.end(), entry_);
  if (at == list.end()) return;
  gone = std::move(*at);
  list.erase(at);
}

void copy_kept(const Storage& from, Storage& to) {
  List original;
  {
    const ForkLock lock(mutex());
    if (!from.keeps.load()) return;
    original = static_cast<const AllocatedStorage&>(from).kept;
  }
  List copies;
  for (const auto& e : original) {
    if (!e->filled || e->version != from.version) continue;
    auto copy = std::make_shared<Kept>(*e);
    copy->version = to.version;
    copy->memory = new_storage(to.device, e->key.bytes, Category::layout);
    copies.push_back(std::move(copy));
  }
  const ForkLock lock(mutex());
  list_of(to) = std::move(copies);
  to.keeps = true;
}

}  // namespace fastcnn
