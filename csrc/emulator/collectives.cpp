// Warp collectives: each a plain function over the arguments of the lanes that take part.
#include "emulator/core.h"
#include "emulator/sanitizers.h"

namespace emu {
namespace {

struct ShuffleArg {
  Shuffle kind;
  uint64_t bits;
  int lane, width;
  uint64_t result;
};
/// A lane that takes no part has nothing to give: all ones, which is NaN in every float type.
void apply_shuffle(void* const* args) {
  for (int i = 0; i < 32; ++i) {
    if (!args[i]) continue;
    auto& a = *static_cast<ShuffleArg*>(args[i]);
    const int first = i / a.width * a.width, own = i - first;
    int from = i;
    switch (a.kind) {
      case Shuffle::index: from = first + (a.lane & (a.width - 1)); break;
      case Shuffle::up: from = own - a.lane >= 0 ? i - a.lane : i; break;
      case Shuffle::down: from = own + a.lane < a.width ? i + a.lane : i; break;
      case Shuffle::exclusive_or: from = (own ^ a.lane) < a.width ? first + (own ^ a.lane) : i; break;
    }
    a.result = from < 32 && args[from] ? static_cast<ShuffleArg*>(args[from])->bits : ~uint64_t{0};
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

uint64_t shuffle(Shuffle kind, unsigned mask, uint64_t bits, int lane, int width, Site site) {
  static const char* const kNames[] = {"__shfl_sync", "__shfl_up_sync", "__shfl_down_sync",
                                       "__shfl_xor_sync"};
  const char* name = kNames[static_cast<int>(kind)];
  if (width < 1 || width > 32 || (width & (width - 1))) {
    this_worker()->fail(cudaErrorLaunchFailure,
                        text(name, ": width must be a power of two up to 32, got ", width), site);
  }
  ShuffleArg arg{kind, bits, lane, width, 0};
  this_worker()->collective(name, mask, &apply_shuffle, &arg, site);
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
