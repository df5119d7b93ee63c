#include "emulator/counters.h"

#include <algorithm>
#include <mutex>
#include <set>
#include <tuple>

#include "emulator/core.h"

namespace emu {
namespace {

std::mutex mutex;
std::map<std::tuple<std::string, int, bool, bool>, Traffic> totals;
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

bool WarpTraffic::Key::operator<(const Key& o) const {
  return std::tie(line, file, shared, store) < std::tie(o.line, o.file, o.shared, o.store);
}

void WarpTraffic::add(Site site, bool shared, bool store, unsigned lane, uint64_t address, unsigned bytes) {
  const Key key{site.file, site.line, shared, store};
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

void WarpTraffic::account(const Key& key, const Request& request) {
  // Requests of 8 and 16 bytes a lane go to shared memory in halves and quarters of the warp.
  const unsigned bytes = request.bytes, grain = bytes < 4 ? 1 : 4;
  const int step = !key.shared || bytes <= 4 ? 32 : bytes <= 8 ? 16 : 8;
  uint64_t wavefronts = 0, lanes = 0;
  std::set<uint64_t> sectors, grains;
  for (int first = 0; first < 32; first += step) {
    std::set<uint64_t> words;
    for (int lane = first; lane < first + step; ++lane) {
      if (!(request.lanes >> lane & 1u)) continue;
      ++lanes;
      const uint64_t begin = request.address[lane];
      for (uint64_t a = begin; a < begin + bytes; a += grain) {
        grains.insert(a / grain);
        words.insert(a / 4);
        sectors.insert(a / 32);
      }
    }
    uint64_t of_bank[32] = {}, worst = 0;
    for (const uint64_t w : words) worst = std::max(worst, ++of_bank[w % 32]);
    wavefronts += worst;
  }
  const uint64_t unit = key.shared ? 128 : 32;
  std::lock_guard<std::mutex> lock(mutex);
  Traffic& t = totals[{key.file, key.line, key.shared, key.store}];
  if (t.file.empty()) t = {key.file, key.line, key.shared, key.store, 0, 0, 0, 0};
  ++t.requests;
  t.bytes += lanes * bytes;
  t.units += key.shared ? wavefronts : sectors.size();
  t.ideal += (grains.size() * grain + unit - 1) / unit;
}

}  // namespace emu
