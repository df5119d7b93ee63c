// Device memory: exact sizes between red zones, NaN-filled, in a registry that kernels are checked against. Under
// AddressSanitizer the host may not touch it: it is open only while device work runs.
#pragma once

#include <cstddef>
#include <memory>
#include <mutex>
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

}  // namespace emu
