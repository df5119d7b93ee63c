// Where GPU threads meet: barriers of a block, collectives of a warp. Who meets nobody is in a deadlock, which is told
// with the lines of code that wait.
#include <cstdio>
#include <cstring>
#include <sstream>

#include "emulator/core.h"
#include "emulator/sanitizers.h"

namespace emu {
namespace {

bool same(Site a, Site b) {
  return a.line == b.line && (a.file == b.file || std::strcmp(a.file, b.file) == 0);
}

std::string hex(unsigned mask) {
  char text[16];
  std::snprintf(text, sizeof text, "0x%x", mask);
  return text;
}

}  // namespace

int Worker::barrier(Sync kind, int predicate, Site site) {
  static const char* const kNames[] = {"__syncthreads", "__syncthreads_count", "__syncthreads_and",
                                       "__syncthreads_or"};
  Thread& t = thread();
  const char* name = kNames[static_cast<int>(kind)];
  if (!barrier_.waiting) {
    barrier_.kind = kind;
    barrier_.site = site;
    barrier_.first = t.linear;
    barrier_.count = barrier_.size = 0;
  } else if (kind != barrier_.kind || !same(site, barrier_.site)) {
    fail(cudaErrorLaunchFailure,
         std::string(name) + ": threads of one block wait at different barriers: thread " + text_of(t.index) +
             " at " + text_of(site) + ", thread " + text_of(threads_[barrier_.first].index) + " at " +
             text_of(barrier_.site),
         site);
  }
  const unsigned phase = barrier_.phase;
  tsan::release(&barrier_.tsan_sync[phase % 2]);
  barrier_.count += predicate != 0;
  ++barrier_.size;
  if (++barrier_.waiting == alive_) {
    open_barrier();
  } else {
    t.state = Thread::at_barrier;
    t.waits_for = name;
    t.waits_mask = 0;
    t.waits_at = site;
    t.fiber = current_;
    leave(false);
  }
  tsan::acquire(&barrier_.tsan_sync[phase % 2]);
  return barrier_.result;
}

void Worker::open_barrier() {
  const int count = barrier_.count, size = barrier_.size;
  barrier_.result = barrier_.kind == Sync::count ? count
                    : barrier_.kind == Sync::all ? count == size
                                                 : count > 0;
  barrier_.waiting = 0;
  ++barrier_.phase;
  for (unsigned i = count_; i-- > 0;) {
    Thread& t = threads_[order(i)];
    if (t.state == Thread::at_barrier) ready_.push_back(&t);
  }
}

void Worker::collective(const char* name, unsigned mask, Apply apply, void* arg, Site site) {
  const tsan::Own own;
  Thread& t = thread();
  Warp& warp = *t.warp;
  const unsigned bit = 1u << t.lane;
  if (!(mask & bit)) {
    fail(cudaErrorLaunchFailure,
         std::string(name) + ": the calling lane " + std::to_string(t.lane) +
             " is not in its own mask, got " + hex(mask),
         site);
  }
  size_t i = 0;
  while (i < warp.open.size() && !(warp.open[i].mask == mask && warp.open[i].apply == apply &&
                                   warp.open[i].name == name && same(warp.open[i].site, site))) {
    ++i;
  }
  for (const Collective& c : warp.open) {  // a lane there waits for this one, which would wait for it here
    if (i < warp.open.size() || !(c.mask & bit) || !(c.arrived & mask)) continue;
    fail(cudaErrorLaunchFailure,
         std::string(name) + ": lanes of one warp meet in different operations: lane " +
             std::to_string(t.lane) + " in " + name + " with mask " + hex(mask) + " at " + text_of(site) +
             ", others in " + c.name + " with mask " + hex(c.mask) + " at " + text_of(c.site),
         site);
  }
  if (i == warp.open.size()) warp.open.push_back({mask, 0, name, apply, site, {}});
  Collective& c = warp.open[i];
  c.arrived |= bit;
  c.args[t.lane] = arg;
  const unsigned meeting = warp.meetings;
  const bool orders = apply == nullptr;  // __syncwarp; shuffles order no memory
  if (orders) tsan::release(&warp.tsan_sync[meeting % 2]);
  if (!(mask & warp.alive & ~c.arrived)) {
    meet(warp, i, &t);
  } else {
    t.state = Thread::at_collective;
    t.waits_for = name;
    t.waits_mask = mask;
    t.waits_at = site;
    t.fiber = current_;
    leave(false);
  }
  if (orders) tsan::acquire(&warp.tsan_sync[meeting % 2]);
}

void Worker::meet(Warp& warp, size_t which, const Thread* last) {
  Collective& c = warp.open[which];
  if (c.apply) c.apply(c.args);
  ++warp.meetings;
  Thread* first = &threads_[(&warp - warps_.data()) * 32];
  for (int i = 31; i >= 0; --i) {
    const int lane = launch->order == Order::reverse ? 31 - i : i;
    if (c.args[lane] && &first[lane] != last) ready_.push_back(&first[lane]);
  }
  warp.open.erase(warp.open.begin() + static_cast<std::ptrdiff_t>(which));
}

/// Who waits for what, one clause for each line of code.
std::string Worker::deadlock() const {
  std::vector<const Thread*> firsts;
  std::vector<int> numbers;
  for (unsigned i = 0; i < count_; ++i) {
    const Thread& t = threads_[i];
    if (t.state == Thread::done) continue;
    size_t g = 0;
    while (g < firsts.size() &&
           !(same(firsts[g]->waits_at, t.waits_at) && firsts[g]->waits_mask == t.waits_mask))
      ++g;
    if (g == firsts.size()) {
      firsts.push_back(&t);
      numbers.push_back(0);
    }
    ++numbers[g];
  }
  std::ostringstream text;
  text << "deadlock: no thread of the block can go on";
  for (size_t g = 0; g < firsts.size() && g < 4; ++g) {
    text << "; " << numbers[g] << " wait in " << firsts[g]->waits_for;
    if (firsts[g]->waits_mask) text << " for lanes " << hex(firsts[g]->waits_mask);
    text << " at " << text_of(firsts[g]->waits_at) << ", the first is thread " << text_of(firsts[g]->index);
  }
  return text.str();
}

}  // namespace emu
