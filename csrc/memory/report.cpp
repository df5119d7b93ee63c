// The text of an out-of-memory error: what was asked for, what there is, who holds it, the cheapest ways out.
#include <algorithm>
#include <cstdio>
#include <map>

#include "common/check.h"
#include "memory/caching.h"

namespace fastcnn {
namespace {

constexpr size_t kHoldersShown = 5;

std::string human(size_t bytes) {
  constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  double value = static_cast<double>(bytes);
  int unit = 0;
  while (value >= 1024 && unit < 6) {
    value /= 1024;
    ++unit;
  }
  char text[32];
  std::snprintf(text, sizeof(text), unit ? "%.2f %s" : "%.0f %s", value, kUnits[unit]);
  return text;
}
std::string exact(size_t bytes) {
  return bytes < 1024 ? human(bytes) : str(bytes, " B (", human(bytes), ")");
}

}  // namespace

std::string Allocator::Impl::out_of_memory(size_t requested, bool over_limit) const {
  std::map<std::pair<Category, std::string>, size_t> by_holder;
  size_t workspaces = 0, largest_free = 0;
  for (const Chunk& c : chunks) {
    if (!c.id) continue;
    const Category category = strongest(c.holders);
    by_holder[{category, c.op}] += c.rounded;
    if (category == Category::workspace) workspaces += c.rounded;
  }
  for (const FreeSet& pool : free_)
    if (!pool.empty()) largest_free = std::max(largest_free, pool.rbegin()->bytes);
  std::vector<std::pair<size_t, std::string>> holders;
  for (const auto& [who, bytes] : by_holder)
    holders.emplace_back(bytes, str(name_of(who.first), who.second.empty() ? "" : " of ", who.second));
  std::stable_sort(holders.begin(), holders.end(),
                   [](const auto& a, const auto& b) { return a.first > b.first; });

  const std::string op = *current_op() ? current_op() : "memory";
  std::string text =
      str(op, ": out of memory on ", to_string(device), ", got a request of ", exact(requested), " with ",
          exact(stats.allocated_bytes), " in use and ", exact(stats.reserved_bytes),
          " reserved (largest free block ", exact(largest_free), "), expected ");
  if (over_limit) {
    const size_t room = stats.limit_bytes - std::min(stats.limit_bytes, stats.allocated_bytes);
    text += str("at most ", exact(room), " under the limit of ", exact(stats.limit_bytes));
  } else {
    text += "what the device can give";
    if (stats.limit_bytes != SIZE_MAX)
      text += str(" (limit ", exact(stats.limit_bytes), ")");
    else
      text += " (no limit is set)";
  }
  if (!holders.empty()) text += "; held by ";
  for (size_t i = 0; i < std::min(holders.size(), kHoldersShown); ++i)
    text += str(i ? ", " : "", holders[i].second, " ", human(holders[i].first));
  if (holders.size() > kHoldersShown) text += str(" and ", holders.size() - kHoldersShown, " more");
  text += "; try a smaller batch, workspace_limit=0";
  if (workspaces) text += str(" (workspaces hold ", human(workspaces), ")");
  if (over_limit) text += ", or a higher memory.set_limit";
  return text + "; free segments were given back already, as memory.empty_cache() does";
}

}  // namespace fastcnn
