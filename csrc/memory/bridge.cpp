#include <sys/mman.h>

#include <cstdlib>
#include <map>
#include <mutex>
#include <set>
#include <tuple>
#include <unordered_map>

#include "common/check.h"
#include "memory/allocator.h"
namespace fastcnn {
// BRIDGE so that other rooms can run: DELETE this file (and replace bind_memory.cpp, fastcnn/memory.py) when
// the memory room lands.
static thread_local const char* t_op = "";
static thread_local std::string t_phase;
OpScope::OpScope(const char* op) : previous_(t_op) { t_op = op; }
OpScope::~OpScope() { t_op = previous_; }
const char* current_op() { return t_op; }
void set_phase(const std::string& p) { t_phase = p; }
const char* current_phase() { return t_phase.c_str(); }
const char* name_of(Category c) {
  static const char* n[] = {"parameter", "gradient",  "optimizer", "buffer",   "saved",
                            "batch",     "workspace", "layout",    "temporary"};
  return n[int(c)];
}
struct Allocator::Impl {
  Device device;
  MemoryStats s;
  bool meta;
  uint64_t next = 1;
  std::mutex m;
};
Allocator::Allocator(Device d, std::unique_ptr<Source>) : impl_(new Impl) {
  impl_->device = d;
  impl_->meta = d.is_meta();
}
Allocator::~Allocator() = default;
Block Allocator::allocate(size_t bytes, Category) {
  Block b;
  b.requested = bytes;
  b.rounded = (bytes + 511) / 512 * 512;
  b.id = impl_->next++;
  if (b.rounded)
    b.data = impl_->meta ? reinterpret_cast<void*>(uintptr_t(1) << 40) : std::aligned_alloc(512, b.rounded);
  impl_->s.allocated_bytes += b.rounded;
  impl_->s.peak_bytes = std::max(impl_->s.peak_bytes, impl_->s.allocated_bytes);
  return b;
}
void Allocator::free(const Block& b) noexcept {
  if (!impl_->meta) std::free(b.data);
  impl_->s.allocated_bytes -= b.rounded;
}
void Allocator::hold(const Block&, Category) {}
void Allocator::drop(const Block&, Category) noexcept {}
MemoryStats Allocator::stats() const { return impl_->s; }
void Allocator::reset_peak() { impl_->s.peak_bytes = impl_->s.allocated_bytes; }
void Allocator::set_limit(size_t) {}
void Allocator::empty_cache() {}
void Allocator::add_external(int64_t n) noexcept { impl_->s.external_bytes += size_t(n); }
Allocator& allocator_for(Device d) {
  static Allocator* c = new Allocator({}, nullptr);
  static Allocator* m = new Allocator(Device{DeviceType::meta, 0}, nullptr);
  return d.is_meta() ? *m : *c;
}
static DeviceProps g_props;
Device parse_device(const std::string& s) {
  if (s == "cpu") return {};
  if (s == "meta") return Device{DeviceType::meta, 0};
  fail<ValueError>("device: got '", s, "', expected cpu or meta");
}
std::string to_string(Device d) { return d.is_meta() ? "meta" : "cpu"; }
const DeviceProps& device_props(Device) { return g_props; }
void set_cpu_props(const DeviceProps& p) { g_props = p; }
}  // namespace fastcnn
