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

uint64_t distinct(std::vector<uint64_t>& values) {
  std::sort(values.begin(), values.end());
  return static_cast<uint64_t>(std::unique(values.begin(), values.end()) - values.begin());
}

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
  const unsigned bytes = request.bytes;
  uint64_t units = 0, lanes = 0;
  std::vector<uint64_t> words, sectors;
  // Requests of 8 and 16 bytes a lane go to shared memory in halves and quarters of the warp.
  const int step = !key.shared || bytes <= 4 ? 32 : bytes <= 8 ? 16 : 8;
  const uint64_t grain = bytes < 4 ? 1 : 4;
  for (int first = 0; first < 32; first += step) {
    std::vector<uint64_t> bank[32];
    for (int lane = first; lane < first + step; ++lane) {
      if (!(request.lanes >> lane & 1u)) continue;
      ++lanes;
      const uint64_t begin = request.address[lane], end = begin + bytes;
      for (uint64_t a = begin; a < end; a += grain) words.push_back(a / grain);
      for (uint64_t s = begin / 32; s <= (end - 1) / 32; ++s) sectors.push_back(s);
      for (uint64_t w = begin / 4; w <= (end - 1) / 4; ++w) bank[w % 32].push_back(w);
    }
    uint64_t worst = 0;
    for (auto& b : bank) worst = std::max(worst, distinct(b));
    units += worst;
  }
  const uint64_t moved = distinct(words) * grain;
  if (!key.shared) units = distinct(sectors);
  const uint64_t unit = key.shared ? 128 : 32;
  std::lock_guard<std::mutex> lock(mutex);
  Traffic& t = totals[{key.file, key.line, key.shared, key.store}];
  if (t.file.empty()) t = {key.file, key.line, key.shared, key.store, 0, 0, 0, 0};
  ++t.requests;
  t.bytes += lanes * bytes;
  t.units += units;
  t.ideal += (moved + unit - 1) / unit;
}

}  // namespace emu
