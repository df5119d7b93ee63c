// Warp collectives: each a plain function over the arguments of the lanes that take part.
#include "emulator/core.h"

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
  uint64_t value;
  unsigned result;
};
void apply_ballot(void* const* args) {
  unsigned result = 0;
  for (int i = 0; i < 32; ++i) result |= (args[i] && static_cast<Vote*>(args[i])->value ? 1u : 0u) << i;
  for (int i = 0; i < 32; ++i) {
    if (args[i]) static_cast<Vote*>(args[i])->result = result;
  }
}
void apply_match(void* const* args) {
  for (int i = 0; i < 32; ++i) {
    if (!args[i]) continue;
    auto& a = *static_cast<Vote*>(args[i]);
    a.result = 0;
    for (int k = 0; k < 32; ++k) {
      a.result |= (args[k] && static_cast<Vote*>(args[k])->value == a.value ? 1u : 0u) << k;
    }
  }
}

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
template <Reduce kKind>
void apply_reduce(void* const* args) {
  bool any = false;
  unsigned result = 0;
  for (int i = 0; i < 32; ++i) {
    if (!args[i]) continue;
    const auto value = static_cast<unsigned>(static_cast<Vote*>(args[i])->value);
    result = any ? combine(kKind, result, value) : value;
    any = true;
  }
  for (int i = 0; i < 32; ++i) {
    if (args[i]) static_cast<Vote*>(args[i])->result = result;
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
  Vote arg{predicate != 0, 0};
  this_worker()->collective(name, mask, &apply_ballot, &arg, site);
  return arg.result;
}

unsigned match_any(unsigned mask, uint64_t bits, Site site) {
  Vote arg{bits, 0};
  this_worker()->collective("__match_any_sync", mask, &apply_match, &arg, site);
  return arg.result;
}

unsigned reduce(Reduce kind, unsigned mask, unsigned value, Site site) {
  static const struct {
    const char* name;
    Apply apply;
  } kRows[] = {{"__reduce_add_sync", &apply_reduce<Reduce::add>},
               {"__reduce_min_sync", &apply_reduce<Reduce::min_signed>},
               {"__reduce_max_sync", &apply_reduce<Reduce::max_signed>},
               {"__reduce_min_sync", &apply_reduce<Reduce::min_unsigned>},
               {"__reduce_max_sync", &apply_reduce<Reduce::max_unsigned>},
               {"__reduce_and_sync", &apply_reduce<Reduce::bit_and>},
               {"__reduce_or_sync", &apply_reduce<Reduce::bit_or>},
               {"__reduce_xor_sync", &apply_reduce<Reduce::bit_xor>}};
  const auto& row = kRows[static_cast<int>(kind)];
  if (arch() < 80) {
    this_worker()->fail(cudaErrorNotSupported,
                        std::string(row.name) + ": needs sm_80, the card is sm_" + std::to_string(arch()),
                        site);
  }
  Vote arg{value, 0};
  this_worker()->collective(row.name, mask, row.apply, &arg, site);
  return arg.result;
}

unsigned active_mask() { return this_worker()->thread().warp->alive; }

}  // namespace emu
