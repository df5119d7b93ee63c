#include "emulator/counters.h"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <set>

namespace emu {
namespace {

std::mutex mutex;
std::map<TrafficKey, Traffic> totals;
std::atomic<bool> on{false};

}  // namespace

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
  Line& line = lines_[key];
  const uint32_t n = line.executed[lane]++;
  Request& request = line.open[n];
  request.lanes |= 1u << lane;
  request.bytes = bytes;
  request.address[lane] = address;
  if (request.lanes == 0xffffffffu) {
    account(key, request);
    line.open.erase(n);
  }
}

void WarpTraffic::flush() {
  for (const auto& [key, line] : lines_) {
    for (const auto& [n, request] : line.open) account(key, request);
  }
  lines_.clear();
}

void WarpTraffic::account(const TrafficKey& key, const Request& request) {
  const auto& [file, line, shared, store] = key;
  // Requests of 8 and 16 bytes a lane go to shared memory in halves and quarters of the warp.
  const unsigned bytes = request.bytes, grain = bytes < 4 ? 1 : 4;
  const int step = !shared || bytes <= 4 ? 32 : bytes <= 8 ? 16 : 8;
  uint64_t wavefronts = 0;
  std::set<uint64_t> sectors, grains;
  for (int first = 0; first < 32; first += step) {
    std::set<uint64_t> words;
    for (int lane = first; lane < first + step; ++lane) {
      const uint64_t begin = request.address[lane], end = request.lanes >> lane & 1u ? begin + bytes : begin;
      for (uint64_t a = begin; a < end; a += grain) {
        grains.insert(a / grain);
        words.insert(a / 4);
        sectors.insert(a / 32);
      }
    }
    uint64_t of_bank[32] = {}, worst = 0;
    for (const uint64_t w : words) worst = std::max(worst, ++of_bank[w % 32]);
    wavefronts += worst;
  }
  const uint64_t unit = shared ? 128 : 32;
  std::lock_guard<std::mutex> lock(mutex);
  Traffic& t =
      totals.try_emplace(key, Traffic{std::string(file), line, shared, store, 0, 0, 0, 0}).first->second;
  ++t.requests;
  t.bytes += static_cast<uint64_t>(__builtin_popcount(request.lanes)) * bytes;
  t.units += shared ? wavefronts : sectors.size();
  t.ideal += (grains.size() * grain + unit - 1) / unit;
}

}  // namespace emu
