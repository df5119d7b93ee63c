// Memory of a card, of other libraries there, and of the host where cards copy from and to it.
#include "common/check.h"
#include "memory/sources.h"
#include "memory/storage.h"

namespace fastcnn {
namespace {

CudaMemory cuda_memory{};  // set once, at import

class CudaSource final : public Source {
 public:
  explicit CudaSource(int device) : device_(device) {}
  void* reserve(size_t bytes) override {
    if (!exact()) return cuda_memory.take(device_, bytes);
    // Addresses only, as many as the card has bytes.
    const size_t total = device_props(Device{DeviceType::cuda, int16_t(device_)}).total_bytes;
    if (bytes > total || reserved_ > total - bytes) return nullptr;
    reserved_ += bytes;
    next_ += bytes;
    return reinterpret_cast<void*>(next_ - bytes);
  }
  void release(void* data, size_t bytes) override {
    if (!exact()) return cuda_memory.give(device_, data);
    reserved_ -= bytes;
  }
  bool touchable() const override { return false; }
  bool exact() const override { return cuda_memory.exact; }
  void* take_block(size_t bytes) override { return cuda_memory.take(device_, bytes); }
  void give_block(void* data) noexcept override { cuda_memory.give(device_, data); }
  StreamSet stream() override { return cuda_memory.stream(device_); }
  void wait_for(StreamSet streams) override { cuda_memory.wait_for(device_, streams); }

 private:
  int device_;
  size_t reserved_ = 0;  // the allocator calls under its lock
  uintptr_t next_ = uintptr_t{1} << 60;
};

class PinnedSource final : public Source {
 public:
  void* reserve(size_t bytes) override {
    const size_t total = system_memory_bytes();  // who locks more than that is killed
    if (bytes > total || taken_ > total - bytes) return nullptr;
    void* data = cuda_memory.take_host(bytes);
    if (data) taken_ += bytes;
    return data;
  }
  void release(void* data, size_t bytes) override {
    cuda_memory.give_host(data);
    taken_ -= bytes;
  }

 private:
  size_t taken_ = 0;  // the allocator calls under its lock
};

struct PinnedBlock {
  explicit PinnedBlock(size_t bytes) : block(pinned_allocator().allocate(bytes)) {}
  ~PinnedBlock() { pinned_allocator().free(block); }
  PinnedBlock(const PinnedBlock&) = delete;
  PinnedBlock& operator=(const PinnedBlock&) = delete;
  const Block block;
};

}  // namespace

Allocator& pinned_allocator() {
  static auto* a =
      new Allocator(Device{}, std::make_unique<PinnedSource>());  // never destroyed, like the others
  return *a;
}

std::shared_ptr<Storage> new_pinned_storage(size_t bytes) {
  device_props(Device{DeviceType::cuda, 0});  // throws: there is no card
  cuda_memory.drop_done();                    // their blocks can be had again
  auto storage = std::make_shared<BorrowedStorage>();
  const auto owner = std::make_shared<PinnedBlock>(bytes);
  storage->data = owner->block.data;
  storage->bytes = bytes;
  storage->owner = owner;
  allocator_for(storage->device).add_external(int64_t(bytes));
  return storage;
}

MemoryStats pinned_stats() {
  if (cuda_memory.drop_done) cuda_memory.drop_done();
  return pinned_allocator().stats();
}

void set_cuda_memory(const CudaMemory& memory) { cuda_memory = memory; }

BorrowedStorage::~BorrowedStorage() {
  allocator_for(device).add_external(-int64_t(bytes));
  if (device.type == DeviceType::cuda && owner && cuda_memory.drop_after)
    cuda_memory.drop_after(device.index, streams.load() | cuda_memory.stream(device.index), std::move(owner));
}

void note_stream(StreamedStorage& storage) {
  if (storage.device.type == DeviceType::cuda) storage.streams |= cuda_memory.stream(storage.device.index);
}

std::unique_ptr<Source> make_cuda_source(int device) {
  FC_CHECK(cuda_memory.take, "memory: no source of CUDA memory in this build");
  return std::make_unique<CudaSource>(device);
}

}  // namespace fastcnn
