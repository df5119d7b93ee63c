// Runs one block: GPU threads as fibers, in the order asked for.
#include <algorithm>
#include <new>
#include <numeric>

#include "emulator/core.h"
#include "emulator/sanitizers.h"

__thread uint3 threadIdx EMULATOR_TLS, blockIdx EMULATOR_TLS;
__thread dim3 blockDim EMULATOR_TLS, gridDim EMULATOR_TLS;

namespace emu {

static __thread Worker* worker = nullptr;
static __thread Thread* self = nullptr;

// Not inlined: a compiler may keep the address of a thread-local variable in a register, and a parked fiber may go
// on on another OS thread in the next launch.
__attribute__((noinline)) static void set_self(Thread* t) {
  self = t;
  if (t) threadIdx = t->index;
}

Worker* this_worker() { return worker; }
Thread& Worker::thread() const { return *self; }

void Worker::run(Launch& l, uint64_t index, uint64_t workers) {
  launch = &l;
  worker = this;
  base_tsan_ = tsan::current();
  const dim3 dim = blockDim = l.config.blockDim;
  gridDim = l.config.gridDim;
  count_ = dim.x * dim.y * dim.z;
  if (threads_.size() < count_) threads_.resize(count_);
  warps_.resize((count_ + 31) / 32);
  order_.resize(count_);
  for (unsigned i = 0; i < count_; ++i) {
    Thread& t = threads_[i];
    t.index = {i % dim.x, i / dim.x % dim.y, i / dim.x / dim.y};
    t.linear = i;
    t.lane = i % 32;
    t.warp = &warps_[i / 32];
    if (!t.tsan_fiber) t.tsan_fiber = tsan::create();  // kept: making one takes 0.1 ms
    order_[i] = l.order == Order::reverse ? count_ - 1 - i : i;
  }
  while (fibers_.size() < count_) free_.push_back(&fibers_.emplace_back());
  const uint64_t n = l.blocks();
  if (tsan::kOn) {  // blocks of one worker are ordered, so races between blocks need a fixed share for each
    for (uint64_t i = index; i < n && !l.failed; i += workers) run_block(i);
  } else {
    for (uint64_t i; !l.failed && (i = l.next_block.fetch_add(1)) < n;) run_block(i);
  }
  worker = nullptr;
}

void Worker::run_block(uint64_t number) {
  const dim3 grid = launch->config.gridDim;
  const uint64_t n = launch->blocks(), seed = launch->seed;
  if (launch->order == Order::reverse) number = n - 1 - number;
  if (launch->order == Order::shuffle) {
    number = (number + seed) % n;  // blocks: a rotation, reversed for odd seeds
    if (seed & 1) number = n - 1 - number;
    random_.seed(seed * 0x9e3779b97f4a7c15u + number);  // whichever worker has the block
    std::iota(order_.begin(), order_.end(), 0u);
    std::shuffle(order_.begin(), order_.end(), random_);
  }
  blockIdx =
      block_ = {static_cast<unsigned>(number % grid.x), static_cast<unsigned>(number / grid.x % grid.y),
                static_cast<unsigned>(number / grid.x / grid.y)};
  for (size_t w = 0; w < warps_.size(); ++w) {
    warps_[w].alive = 0xffffffffu >> (32 - std::min<size_t>(32, count_ - w * 32));
    warps_[w].open.clear();
  }
  for (unsigned i = 0; i < count_; ++i) threads_[i].state = Thread::fresh;
  barrier_.waiting = 0;
  ready_.clear();
  next_fresh_ = 0;
  alive_ = count_;
  shared.open(launch->config.dynamicSmemBytes, launch->shared_limit);
  tsan::release(&block_sync_[0]);

  current_ = &base_;
  leave(false);  // until all are done or one has failed

  if (alive_) {
    for (unsigned i = 0; tsan::kOn && i < count_; ++i) {  // their work came before what follows, too
      if (threads_[i].state == Thread::fresh) continue;
      tsan::switch_to(threads_[i].tsan_fiber);
      tsan::release(&block_sync_[1]);
      tsan::switch_to(base_tsan_);
    }
    free_.clear();
    for (Fiber& fiber : fibers_) {
      if (fiber.context) make_fiber(fiber, fiber.entry);
      free_.push_back(&fiber);
    }
  } else if (std::string what = broken_red_zone(shared.variables()); !what.empty()) {
    launch->failed = true;
    refuse(cudaErrorIllegalAddress, text(what, ", block ", block_), true);
  }
  for (Warp& warp : warps_) warp.traffic.flush();
  tsan::acquire(&block_sync_[1]);
}

void Worker::fiber_main() {
  for (;;) {
    Thread& t = *to_start_;
    tsan::acquire(&block_sync_[0]);
    t.copies.clear();
    t.groups = 0;
    launch->body();
    exit_thread(t);
    leave(true);
  }
}

void Worker::exit_thread(Thread& t) {
  const tsan::Own own;
  t.state = Thread::done;
  tsan::release(&block_sync_[1]);
  --alive_;
  Warp& warp = *t.warp;
  warp.alive &= ~(1u << t.lane);
  for (size_t i = warp.open.size(); i-- > 0;) {  // lanes that have returned are not waited for
    if (!(warp.open[i].mask & warp.alive & ~warp.open[i].arrived)) meet(warp, warp.open[i], nullptr);
  }
  if (barrier_.waiting && barrier_.waiting == alive_) open_barrier();
}

/// Who goes on: the thread that was released last, else a new one; with a random order, either of any.
Thread* Worker::pick() {
  const bool fresh = next_fresh_ < count_;
  const bool shuffled = launch->order == Order::shuffle;
  if (!ready_.empty() && !(shuffled && fresh && random_() % 2)) {
    if (shuffled) std::swap(ready_.back(), ready_[random_() % ready_.size()]);
    Thread* t = ready_.back();
    ready_.pop_back();
    return t;
  }
  return fresh ? &threads_[order_[next_fresh_++]] : nullptr;
}

/// The running fiber gives way. Comes back when its thread may go on, or, finished, with a new one in to_start_.
void Worker::leave(bool finished) {
  // ThreadSanitizer: each thread its own stack, because what two threads leave on one would look like a race.
  if (finished && !tsan::kOn) free_.push_back(current_);
  Thread* next = pick();
  if (!next) {
    if (alive_) fail(cudaErrorLaunchFailure, {nullptr, 0}, deadlock());
    return go(&base_, nullptr);
  }
  const bool fresh = next->state == Thread::fresh;
  next->state = Thread::running;
  if (!fresh) return go(next->fiber, next);
  to_start_ = next;
  Fiber* fiber = tsan::kOn ? &fibers_[next->linear] : free_.back();
  if (!tsan::kOn) free_.pop_back();
  if (!fiber->context && !make_fiber(*fiber, [](Fiber&) { worker->fiber_main(); })) {
    fail(cudaErrorMemoryAllocation, {nullptr, 0}, "no memory for the stack of a GPU thread");
  }
  go(fiber, next);
}

void Worker::go(Fiber* target, Thread* next, bool for_good) {
  Fiber* here = current_;
  current_ = target;
  set_self(next);
  tsan::switch_to(next ? next->tsan_fiber : base_tsan_);
  if (here != target) switch_fiber(*here, *target, for_good);
}

void Worker::end(cudaError_t code, Site site, const std::string& what) {
  launch->failed = true;
  {
    const tsan::Own own;
    const std::string line = site.file ? text(site, ", ") : "";
    const std::string who = self && site.file ? text(", thread ", self->index) : "";
    refuse(code, text(what, " (", line, "block ", block_, who, ")"), true);
  }
  if (current_ == &base_) throw std::bad_alloc();
  go(&base_, nullptr, true);
  __builtin_unreachable();
}

}  // namespace emu
