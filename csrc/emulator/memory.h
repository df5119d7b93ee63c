// Memory as kernels may touch it, filled with NaN, between red zones. Global: exact sizes in a registry that kernels are
// checked against; under AddressSanitizer the host may not touch it: it is open only while device work runs. Shared:
// a worker's arena, variables at multiples of 128 bytes, so that their banks are those of the card, new for each block.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "emulator/thread.h"

namespace emu {

struct Allocation {
  char* base;
  size_t bytes;
  Site site;
  bool host;                   // pinned: both sides may touch it
  const char* name = nullptr;  // of a variable in shared memory
  const void* key = nullptr;   // whose it is
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
/// What is there before the first use: NaN between the canaries of the red zones.
void fill(char* base, size_t bytes);
/// "" or what wrote into the red zones of which allocation.
std::string broken_red_zone(const Allocations& all);

/// A piece of device work (streams do one at a time); memory is open to it.
struct DeviceWork {
  DeviceWork();
  ~DeviceWork();
};

class Shared {
 public:
  /// Begins a block: forgets the variables, makes the dynamic part.
  void open(size_t dynamic_bytes, size_t limit);
  void* dynamic() { return arena_; }
  /// Made at first use. Fails if the variables exceed the limit of the launch.
  void* variable(const void* key, size_t bytes, const char* name, Site site);
  const Allocations& variables() const { return variables_; }
  bool holds(const void* p) const { return p >= arena_ && p < arena_ + kBytes; }
  size_t offset(const void* p) const { return static_cast<size_t>(static_cast<const char*>(p) - arena_); }

 private:
  static constexpr size_t kBytes = 512 << 10, kZone = 128, kAlign = 1024;
  char* const arena_ = static_cast<char*>(std::aligned_alloc(kAlign, kAlign + kBytes)) + kAlign;  // stays
  Allocations variables_;
  size_t top_ = 0, used_ = 0, limit_ = 0;
};

}  // namespace emu
