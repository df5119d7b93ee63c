// Memory as kernels may touch it. Global: exact sizes between red zones, NaN-filled, in a registry that kernels are
// checked against; under AddressSanitizer the host may not touch it: it is open only while device work runs. Shared:
// a worker's arena, variables at multiples of 128 bytes, so that their banks are those of the card, NaN-filled for
// each block, with a red zone behind each.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "emulator/thread.h"

namespace emu {

struct Allocation {
  char* base;
  size_t bytes;
  Site site;
  bool host;  // pinned: both sides may touch it
};
/// By address.
using Allocations = std::vector<Allocation>;

/// Null if the card or the machine has no more.
void* allocate(size_t bytes, bool host, Site site);
/// False if `p` is not the beginning of an allocation.
bool release(void* p);
/// As it is now; never changed afterwards.
std::shared_ptr<const Allocations> allocations();
/// The allocation that holds p, or ends up to `slack` bytes before it; or null.
const Allocation* find(const Allocations& all, const void* p, size_t slack = 0);
/// "" or what wrote past the end of which allocation.
std::string broken_red_zone();

/// One piece of device work at a time; memory is open to it.
class DeviceWork {
 public:
  DeviceWork();
  ~DeviceWork();
  DeviceWork(const DeviceWork&) = delete;
  DeviceWork& operator=(const DeviceWork&) = delete;
};

class Shared {
 public:
  Shared();
  /// Begins a block: forgets the variables, fills the dynamic part.
  void open(size_t dynamic_bytes, size_t limit);
  /// Ends it: text of an error if a red zone was written to, else "".
  std::string close() const;

  void* dynamic() { return arena_; }
  /// Made at first use. Null if the variables exceed the limit of the launch.
  void* variable(const void* key, size_t bytes, const char* name, Site site);
  size_t limit() const { return limit_; }
  size_t used() const { return used_; }

  bool holds(const void* p) const { return p >= arena_ && p < arena_ + kBytes; }
  /// "" if all bytes lie in one variable, else what is wrong.
  std::string complaint(const void* p, size_t bytes) const;
  size_t offset(const void* p) const { return static_cast<size_t>(static_cast<const char*>(p) - arena_); }

 private:
  static constexpr size_t kBytes = 512 << 10, kZone = 128;
  struct Variable {
    const void* key;
    const char* name;
    Site site;
    size_t offset, bytes;
  };

  std::unique_ptr<char[]> memory_;
  char* arena_;
  std::vector<Variable> variables_;
  size_t top_ = 0, used_ = 0, limit_ = 0;
};

}  // namespace emu
