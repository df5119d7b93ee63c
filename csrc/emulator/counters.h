// Traffic through the accessors of cuda/vec.cuh, as a warp's load/store unit would see it.
//
// The n-th execution of a line by each lane of a warp is taken as one request. Global memory moves sectors of 32
// bytes; shared memory serves a request in wavefronts, each at most one word of 4 bytes per bank, 128 bytes in all.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

namespace emu {

/// Sums over the requests of one line; `units` are sectors (global) or wavefronts (shared), `ideal` how many would
/// do for the same bytes.
struct Traffic {
  std::string file;
  int line;
  bool shared, store;
  uint64_t requests, bytes, units, ideal;
};

void start_counting();
bool counting();
/// The lines since start_counting(), by file and line.
std::vector<Traffic> stop_counting();
/// The sum over lines of global or shared memory; loads and stores.
Traffic total(const std::vector<Traffic>& lines, bool shared);

/// File, line, shared, store.
using TrafficKey = std::tuple<std::string_view, int, bool, bool>;

/// The requests of one warp that are still being gathered.
class WarpTraffic {
 public:
  void add(const TrafficKey& key, unsigned lane, uint64_t address, unsigned bytes);
  /// Accounts for what is left, at the end of the block.
  void flush();

 private:
  struct Request {
    unsigned lanes = 0, bytes = 0;
    uint64_t address[32];
  };
  static void account(const TrafficKey& key, const Request& request);
  std::map<TrafficKey, std::array<uint32_t, 32>> executed_;  // by each lane
  std::map<std::pair<TrafficKey, uint32_t>, Request> open_;
};

}  // namespace emu
