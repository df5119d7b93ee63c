// Warp collectives: each a plain function over the arguments of the lanes that take part.
#include "emulator/core.h"
#include "emulator/sanitizers.h"

namespace emu {
namespace {

struct Exchange {
  uint64_t bits;
  unsigned from;
  uint64_t result;
};
/// A lane that takes no part has nothing to give: all ones, which is NaN in every float type.
void apply_shuffle(void* const* args) {
  for (int i = 0; i < 32; ++i) {
    if (!args[i]) continue;
    auto& a = *static_cast<Exchange*>(args[i]);
    a.result = args[a.from] ? static_cast<Exchange*>(args[a.from])->bits : ~uint64_t{0};
  }
}

struct Vote {
  bool value;
  unsigned result;
};
void apply_ballot(void* const* args) {
  unsigned result = 0;
  for (int i = 0; i < 32; ++i) result |= args[i] && static_cast<Vote*>(args[i])->value ? 1u << i : 0u;
  for (int i = 0; i < 32; ++i) {
    if (args[i]) static_cast<Vote*>(args[i])->result = result;
  }
}

}  // namespace

void sync_warp(unsigned mask, Site site) {
  char here;
  this_worker()->collective("__syncwarp", mask, nullptr, &here, site);
}

unsigned lane() { return this_worker()->thread().lane; }

uint64_t shuffle(const char* name, unsigned mask, uint64_t bits, unsigned place, int width, Site site) {
  Worker& w = *this_worker();
  const unsigned size = static_cast<unsigned>(width);
  if (width < 1 || width > 32 || (size & (size - 1))) {
    w.fail(cudaErrorLaunchFailure, site, name, ": width must be a power of two up to 32, got ", width);
  }
  Exchange arg{bits, place < size ? (lane() & -size) + place : lane(), 0};
  w.collective(name, mask, &apply_shuffle, &arg, site);
  return arg.result;
}

unsigned ballot(unsigned mask, int predicate, Site site) {
  Vote arg{predicate != 0, 0};
  this_worker()->collective("__ballot_sync", mask, &apply_ballot, &arg, site);
  return arg.result;
}

unsigned active_mask() { return this_worker()->thread().warp->alive; }

void fence() {
  [[maybe_unused]] static char order;
  tsan::release(&order);
  tsan::acquire(&order);
}

}  // namespace emu
