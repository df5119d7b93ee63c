// Where GPU threads meet: barriers of a block, collectives of a warp. Who meets nobody is in a deadlock, which is told
// with the lines of code that wait.
#include <algorithm>
#include <cstring>

#include "emulator/core.h"
#include "emulator/sanitizers.h"

namespace emu {
namespace {

bool same(Site a, Site b) {
  return a.line == b.line && (a.file == b.file || std::strcmp(a.file, b.file) == 0);
}

struct Hex {
  unsigned mask;
};
std::ostream& operator<<(std::ostream& out, Hex h) { return out << "0x" << std::hex << h.mask << std::dec; }

}  // namespace

void sync_block(Site site) { this_worker()->barrier(site); }

/// The running thread waits there until somebody makes it ready.
void Worker::wait(Thread::State state, const char* what, unsigned mask, Site site) {
  Thread& t = thread();
  t.state = state;
  t.waits_for = what;
  t.waits_mask = mask;
  t.waits_at = site;
  t.fiber = current_;
  leave(false);
}

void Worker::barrier(Site site) {
  const Thread& t = thread();
  if (!barrier_.waiting) {
    barrier_.site = site;
    barrier_.first = t.linear;
  } else if (!same(site, barrier_.site)) {
    fail(cudaErrorLaunchFailure,
         text("__syncthreads: threads of one block wait at different barriers: thread ", t.index, " at ",
              site, ", thread ", threads_[barrier_.first].index, " at ", barrier_.site),
         site);
  }
  const unsigned phase = barrier_.phase;
  tsan::release(&barrier_.tsan_sync[phase % 2]);
  if (++barrier_.waiting == alive_) {
    open_barrier();
  } else {
    wait(Thread::at_barrier, "__syncthreads", 0, site);
  }
  tsan::acquire(&barrier_.tsan_sync[phase % 2]);
}

void Worker::open_barrier() {
  barrier_.waiting = 0;
  ++barrier_.phase;
  for (unsigned i = count_; i-- > 0;) {
    Thread& t = threads_[order(i)];
    if (t.state == Thread::at_barrier) ready_.push_back(&t);
  }
}

void Worker::collective(const char* name, unsigned mask, Apply apply, void* arg, Site site) {
  const tsan::Own own;
  const Thread& t = thread();
  Warp& warp = *t.warp;
  const unsigned bit = 1u << t.lane;
  if (!(mask & bit)) {
    fail(cudaErrorLaunchFailure,
         text(name, ": the calling lane ", t.lane, " is not in its own mask, got ", Hex{mask}), site);
  }
  size_t i = 0;
  while (i < warp.open.size() && !(warp.open[i].mask == mask && warp.open[i].apply == apply &&
                                   warp.open[i].name == name && same(warp.open[i].site, site))) {
    ++i;
  }
  for (const Collective& c : warp.open) {  // a lane there waits for this one, which would wait for it here
    if (i < warp.open.size() || !(c.mask & bit) || !(c.arrived & mask)) continue;
    fail(cudaErrorLaunchFailure,
         text(name, ": lanes of one warp meet in different operations: lane ", t.lane, " in ", name,
              " with mask ", Hex{mask}, " at ", site, ", others in ", c.name, " with mask ", Hex{c.mask},
              " at ", c.site),
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
    wait(Thread::at_collective, name, mask, site);
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
  struct Clause {
    const Thread* first;
    int threads;
  };
  std::vector<Clause> clauses;
  for (unsigned i = 0; i < count_; ++i) {
    const Thread& t = threads_[i];
    if (t.state == Thread::done) continue;
    const auto at = std::find_if(clauses.begin(), clauses.end(), [&](const Clause& c) {
      return same(c.first->waits_at, t.waits_at) && c.first->waits_mask == t.waits_mask;
    });
    if (at != clauses.end()) {
      ++at->threads;
    } else {
      clauses.push_back({&t, 1});
    }
  }
  std::ostringstream out;
  out << "deadlock: no thread of the block can go on";
  for (size_t i = 0; i < clauses.size() && i < 4; ++i) {
    const Thread& t = *clauses[i].first;
    out << "; " << clauses[i].threads << " wait in " << t.waits_for;
    if (t.waits_mask) out << " for lanes " << Hex{t.waits_mask};
    out << " at " << t.waits_at << ", the first is thread " << t.index;
  }
  return out.str();
}

}  // namespace emu
