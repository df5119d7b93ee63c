// Where GPU threads meet: barriers of a block, collectives of a warp. Who meets nobody is in a deadlock, which is told
// with the lines of code that wait.
#include <cstdio>
#include <cstring>

#include "emulator/core.h"
#include "emulator/sanitizers.h"

namespace emu {

static bool same(Site a, Site b) {
  return a.line == b.line && (a.file == b.file || std::strcmp(a.file, b.file) == 0);
}

static std::string hex(unsigned mask) {
  char out[16];
  std::snprintf(out, sizeof out, "0x%x", mask);
  return out;
}

void Worker::barrier(Site site) {
  Thread& t = thread();
  if (!barrier_.waiting) {
    barrier_.site = site;
    barrier_.first = t.linear;
  } else if (!same(site, barrier_.site)) {
    fail(cudaErrorLaunchFailure, site,
         "__syncthreads: threads of one block wait at different barriers: thread ", t.index, " at ", site,
         ", thread ", threads_[barrier_.first].index, " at ", barrier_.site);
  }
  const unsigned phase = barrier_.phase;
  tsan::release(&barrier_.tsan_sync[phase % 2]);
  if (++barrier_.waiting == alive_) {
    open_barrier();
  } else {
    t.state = Thread::at_barrier;
    t.fiber = current_;
    leave(false);
  }
  tsan::acquire(&barrier_.tsan_sync[phase % 2]);
}

void Worker::open_barrier() {
  barrier_.waiting = 0;
  ++barrier_.phase;
  for (unsigned i = count_; i-- > 0;) {
    Thread& t = threads_[order_[i]];
    if (t.state == Thread::at_barrier) ready_.push_back(&t);
  }
}

void Worker::collective(const char* name, unsigned mask, Apply apply, void* arg, Site site) {
  const tsan::Own own;
  Thread& t = thread();
  Warp& warp = *t.warp;
  const unsigned bit = 1u << t.lane;
  if (!(mask & bit)) {
    fail(cudaErrorLaunchFailure, site, name, ": the calling lane ", t.lane, " is not in its own mask, got ",
         hex(mask));
  }
  Collective *mine = nullptr, *other = nullptr;
  for (Collective& c : warp.open) {
    if (c.mask == mask && c.apply == apply && c.name == name && same(c.site, site)) mine = &c;
    if ((c.mask & bit) && (c.arrived & mask)) other = &c;
  }
  if (!mine && other) {  // a lane there waits for this one, which would wait for it here
    fail(cudaErrorLaunchFailure, site, name, ": lanes of one warp meet in different operations: lane ",
         t.lane, " in ", name, " with mask ", hex(mask), " at ", site, ", others in ", other->name,
         " with mask ", hex(other->mask), " at ", other->site);
  }
  if (!mine) mine = &warp.open.emplace_back(Collective{mask, 0, name, apply, site, {}});
  mine->arrived |= bit;
  mine->args[t.lane] = arg;
  const unsigned meeting = warp.meetings;
  const bool orders = apply == nullptr;  // __syncwarp; shuffles order no memory
  if (orders) tsan::release(&warp.tsan_sync[meeting % 2]);
  if (!(mask & warp.alive & ~mine->arrived)) {
    meet(warp, *mine, &t);
  } else {
    t.fiber = current_;
    leave(false);
  }
  if (orders) tsan::acquire(&warp.tsan_sync[meeting % 2]);
}

void Worker::meet(Warp& warp, Collective& c, const Thread* last) {
  if (c.apply) c.apply(c.args);
  ++warp.meetings;
  Thread* first = &threads_[(&warp - warps_.data()) * 32];
  for (int i = 31; i >= 0; --i) {
    const int lane = launch->order == Order::reverse ? 31 - i : i;
    if (c.args[lane] && &first[lane] != last) ready_.push_back(&first[lane]);
  }
  warp.open.erase(warp.open.begin() + (&c - warp.open.data()));
}

/// Who waits for what.
std::string Worker::deadlock() const {
  std::ostringstream out;
  out << "deadlock: no thread of the block can go on";
  if (barrier_.waiting) out << "; " << barrier_.waiting << " wait in __syncthreads at " << barrier_.site;
  for (const Warp& warp : warps_) {
    for (const Collective& c : warp.open) {
      out << "; " << __builtin_popcount(c.arrived) << " wait in " << c.name << " for lanes " << hex(c.mask)
          << " at " << c.site << ", the first is thread "
          << threads_[(&warp - warps_.data()) * 32 + __builtin_ctz(c.arrived)].index;
    }
  }
  return out.str();
}

}  // namespace emu

void __syncthreads(emu::Site site) { emu::this_worker()->barrier(site); }
void __threadfence() {
  [[maybe_unused]] static char order;
  emu::tsan::release(&order);
  emu::tsan::acquire(&order);
}
void __trap(emu::Site site) {
  emu::this_worker()->fail(cudaErrorLaunchFailure, site, "__trap: the kernel gave up");
}
