// Addresses that are never touched. There is no end to them: whether a step fits a card is decided by
// comparing its peak with the card's total, so that the estimate of a step that does not fit is still a
// number.
#include <algorithm>

#include "memory/sources.h"

namespace fastcnn {
namespace {

// Not a canonical address on any supported CPU: a kernel launched by mistake faults at once.
constexpr uintptr_t kBase = (uintptr_t{1} << 60) | (uintptr_t{1} << 50);

class MetaSource final : public Source {
 public:
  explicit MetaSource(bool growable) : growable_(growable) {}
  void* reserve(size_t bytes) override {
    const size_t range = growable_ ? std::max(bytes, kRange) : bytes;
    if (range > kEnd - next_) return nullptr;
    const uintptr_t address = next_;
    next_ += range;
    return reinterpret_cast<void*>(address);
  }
  void release(void*, size_t) override {}
  bool growable() const override { return growable_; }
  bool extend(void*, size_t bytes, size_t more) override { return growable_ && bytes + more <= kRange; }
  bool touchable() const override { return false; }

 private:
  static constexpr uintptr_t kEnd = uintptr_t{1} << 63;
  static constexpr size_t kRange = size_t{1} << 46;
  const bool growable_;
  uintptr_t next_ = kBase;
};

}  // namespace

std::unique_ptr<Source> make_meta_source(bool growable) { return std::make_unique<MetaSource>(growable); }

}  // namespace fastcnn
