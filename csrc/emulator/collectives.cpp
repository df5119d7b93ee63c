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
  Reduce kind;
  unsigned value, result;
};
unsigned combine(Reduce kind, unsigned a, unsigned b) {
  const int x = static_cast<int>(a), y = static_cast<int>(b);
  switch (kind) {
    case Reduce::add: return a + b;
    case Reduce::min_signed: return x < y ? a : b;
    case Reduce::max_signed: return x < y ? b : a;
    case Reduce::min_unsigned: return a < b ? a : b;
    case Reduce::max_unsigned: return a < b ? b : a;
    case Reduce::bit_and: return a & b;
    case Reduce::bit_or: return a | b;
    default: return a ^ b;
  }
}
void apply_vote(void* const* args) {
  Vote* first = nullptr;
  for (int i = 0; i < 32; ++i) {
    auto* a = static_cast<Vote*>(args[i]);
    if (first && a) first->result = combine(first->kind, first->result, a->value);
    if (!first && a) (first = a)->result = a->value;
  }
  for (int i = 0; i < 32; ++i) {
    if (args[i]) static_cast<Vote*>(args[i])->result = first->result;
  }
}

}  // namespace

int sync_block(Sync kind, int predicate, Site site) { return this_worker()->barrier(kind, predicate, site); }

void sync_warp(unsigned mask, Site site) {
  char here;
  this_worker()->collective("__syncwarp", mask, nullptr, &here, site);
}

uint64_t shuffle(Shuffle kind, unsigned mask, uint64_t bits, int lane, int width, Site site) {
  static const char* const kNames[] = {"__shfl_sync", "__shfl_up_sync", "__shfl_down_sync",
                                       "__shfl_xor_sync"};
  const char* name = kNames[static_cast<int>(kind)];
  if (width < 1 || width > 32 || (width & (width - 1))) {
    this_worker()->fail(
        cudaErrorLaunchFailure,
        std::string(name) + ": width must be a power of two up to 32, got " + std::to_string(width), site);
  }
  ShuffleArg arg{kind, bits, lane, width, 0};
  this_worker()->collective(name, mask, &apply_shuffle, &arg, site);
  return arg.result;
}

unsigned ballot(unsigned mask, int predicate, const char* name, Site site) {
  Vote arg{Reduce::bit_or, predicate ? 1u << this_worker()->thread().lane : 0u, 0};
  this_worker()->collective(name, mask, &apply_vote, &arg, site);
  return arg.result;
}

unsigned reduce(Reduce kind, unsigned mask, unsigned value, const char* name, Site site) {
  if (arch() < 80) {
    this_worker()->fail(cudaErrorNotSupported,
                        std::string(name) + ": needs sm_80, the card is sm_" + std::to_string(arch()), site);
  }
  Vote arg{kind, value, 0};
  this_worker()->collective(name, mask, &apply_vote, &arg, site);
  return arg.result;
}

void fence() {
  [[maybe_unused]] static char order;
  tsan::release(&order);
  tsan::acquire(&order);
}

unsigned active_mask() { return this_worker()->thread().warp->alive; }

}  // namespace emu
