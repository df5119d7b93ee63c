#include "emulator/counters.h"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <set>

namespace emu {

static std::mutex mutex;
static std::map<TrafficKey, Traffic> totals;
static std::atomic<bool> on{false};

bool counting() { return on; }

void start_counting() {
  std::lock_guard<std::mutex> lock(mutex);
  totals.clear();
  on = true;
}

std::vector<Traffic> stop_counting() {
  std::lock_guard<std::mutex> lock(mutex);
  on = false;
  std::vector<Traffic> lines;
  for (const auto& [key, traffic] : totals) lines.push_back(traffic);
  return lines;
}

Traffic total(const std::vector<Traffic>& lines, bool shared) {
  Traffic sum{"", 0, shared, false, 0, 0, 0, 0};
  for (const Traffic& t : lines) {
    if (t.shared != shared) continue;
    sum.requests += t.requests;
    sum.bytes += t.bytes;
    sum.units += t.units;
    sum.ideal += t.ideal;
  }
  return sum;
}

void WarpTraffic::add(const TrafficKey& key, unsigned lane, uint64_t address, unsigned bytes) {
  const std::pair<TrafficKey, uint32_t> which{key, executed_[key][lane]++};
  Request& request = open_[which];
  request.lanes |= 1u << lane;
  request.bytes = bytes;
  request.address[lane] = address;
  if (request.lanes != 0xffffffffu) return;
  account(key, request);
  open_.erase(which);
}

void WarpTraffic::flush() {
  for (const auto& [which, request] : open_) account(which.first, request);
  open_.clear();
  executed_.clear();
}

void WarpTraffic::account(const TrafficKey& key, const Request& request) {
  const auto& [file, line, shared, store] = key;
  const unsigned bytes = request.bytes, grain = bytes < 4 ? 1 : 4;
  /// The units of so many bytes that these lanes touch.
  auto touched = [&](int first, int lanes, uint64_t unit) {
    std::set<uint64_t> units;
    for (int lane = first; lane < first + lanes; ++lane) {
      const uint64_t begin = request.address[lane], end = request.lanes >> lane & 1u ? begin + bytes : begin;
      for (uint64_t a = begin; a < end; a += grain) units.insert(a / unit);
    }
    return units;
  };
  uint64_t units = shared ? 0 : touched(0, 32, 32).size();
  // Requests of 8 and 16 bytes a lane go to shared memory in halves and quarters of the warp.
  const int step = bytes <= 4 ? 32 : bytes <= 8 ? 16 : 8;
  for (int first = 0; shared && first < 32; first += step) {
    uint64_t of_bank[32] = {}, wavefronts = 0;
    for (const uint64_t w : touched(first, step, 4)) wavefronts = std::max(wavefronts, ++of_bank[w % 32]);
    units += wavefronts;
  }
  const uint64_t unit = shared ? 128 : 32, ideal = (touched(0, 32, grain).size() * grain + unit - 1) / unit;
  std::lock_guard<std::mutex> lock(mutex);
  Traffic& t =
      totals.try_emplace(key, Traffic{std::string(file), line, shared, store, 0, 0, 0, 0}).first->second;
  ++t.requests;
  t.bytes += static_cast<uint64_t>(__builtin_popcount(request.lanes)) * bytes;
  t.units += units;
  t.ideal += ideal;
}

}  // namespace emu
