// Runs one block: GPU threads as fibers, in the order asked for.
#include <algorithm>
#include <new>
#include <numeric>

#include "emulator/core.h"
#include "emulator/sanitizers.h"

__thread uint3 threadIdx EMULATOR_TLS, blockIdx EMULATOR_TLS;
__thread dim3 blockDim EMULATOR_TLS, gridDim EMULATOR_TLS;

namespace emu {
namespace {

__thread Worker* worker = nullptr;
__thread Thread* self = nullptr;

// Not inlined: a compiler may keep the address of a thread-local variable in a register, and a parked fiber may go
// on on another OS thread in the next launch.
__attribute__((noinline)) void set_self(Thread* t) {
  self = t;
  if (t) threadIdx = t->index;
}

}  // namespace

Worker* this_worker() { return worker; }
__attribute__((noinline)) void set_this_worker(Worker* w) { worker = w; }

Worker::Worker() {
  threads_.reserve(1024);
  ready_.reserve(1024);
}

Thread& Worker::thread() const { return *self; }

unsigned Worker::order(unsigned i) const {
  if (launch->order == Order::forward) return i;
  return launch->order == Order::reverse ? count_ - 1 - i : permutation_[i];
}

void Worker::set_up_threads() {
  const dim3 dim = launch->block;
  count_ = dim.x * dim.y * dim.z;
  if (threads_.size() < count_) threads_.resize(count_);
  warps_.resize((count_ + 31) / 32);
  traffic_.resize(warps_.size());
  for (unsigned i = 0; i < count_; ++i) {
    Thread& t = threads_[i];
    t.index = {i % dim.x, i / dim.x % dim.y, i / dim.x / dim.y};
    t.linear = i;
    t.lane = i % 32;
    t.warp = &warps_[i / 32];
    if (!t.tsan_fiber) t.tsan_fiber = tsan::create();  // kept: making one takes 0.1 ms
  }
  blockDim = dim;
  gridDim = launch->grid;
}

void Worker::run(Launch& l, uint64_t index, uint64_t workers) {
  launch = &l;
  set_this_worker(this);
  base_tsan_ = tsan::current();
  set_up_threads();
  const uint64_t n = l.blocks();
  if (tsan::kOn) {  // blocks of one worker are ordered, so races between blocks need a fixed share for each
    for (uint64_t i = index; i < n && !l.failed; i += workers) run_block(i);
  } else {
    for (uint64_t i; !l.failed && (i = l.next_block.fetch_add(1)) < n;) run_block(i);
  }
  set_this_worker(nullptr);
}

void Worker::run_block(uint64_t number) {
  const dim3 grid = launch->grid;
  const uint64_t n = launch->blocks();
  if (launch->order == Order::reverse) number = n - 1 - number;
  if (launch->order == Order::shuffle) {
    number = (number + launch->seed) % n;  // blocks: a rotation, reversed for odd seeds
    if (launch->seed & 1) number = n - 1 - number;
    random_.seed(launch->seed * 0x9e3779b97f4a7c15u + number);  // whichever worker has the block
    permutation_.resize(count_);
    std::iota(permutation_.begin(), permutation_.end(), 0u);
    std::shuffle(permutation_.begin(), permutation_.end(), random_);
  }
  block_ = {static_cast<unsigned>(number % grid.x), static_cast<unsigned>(number / grid.x % grid.y),
            static_cast<unsigned>(number / grid.x / grid.y)};
  blockIdx = block_;
  for (size_t w = 0; w < warps_.size(); ++w) {
    const unsigned lanes = std::min(32u, count_ - static_cast<unsigned>(w) * 32);
    warps_[w].alive = lanes == 32 ? 0xffffffffu : (1u << lanes) - 1;
    warps_[w].open.clear();
  }
  for (unsigned i = 0; i < count_; ++i) threads_[i].state = Thread::fresh;
  barrier_.waiting = 0;
  ready_.clear();
  next_fresh_ = 0;
  alive_ = count_;
  abandoned_ = false;
  shared.open(launch->dynamic_shared, launch->shared_limit);
  tsan::release(&block_sync_[0]);

  current_ = &base_;
  leave(false);  // until all are done or one has failed

  if (abandoned_) {
    for (unsigned i = 0; tsan::kOn && i < count_; ++i) {  // their work came before what follows, too
      if (threads_[i].state == Thread::fresh) continue;
      tsan::switch_to(threads_[i].tsan_fiber);
      tsan::release(&block_sync_[1]);
      tsan::switch_to(base_tsan_);
    }
    free_.clear();
    for (auto& fiber : fibers_) {
      if (fiber->context) make_fiber(*fiber, fiber->entry);
      free_.push_back(fiber.get());
    }
  } else if (std::string text = shared.close(); !text.empty()) {
    launch->failed = true;
    set_sticky(cudaErrorIllegalAddress, emu::text(text, ", block ", block_));
  }
  if (launch->counting) {
    for (auto& t : traffic_) t.flush();
  }
  tsan::acquire(&block_sync_[1]);
}

void Worker::fiber_main() {
  for (;;) {
    Thread& t = *to_start_;
    tsan::acquire(&block_sync_[0]);
    t.state = Thread::running;
    t.fiber = nullptr;
    t.copies.clear();
    t.groups = 0;
    (*launch->body)();
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
    if (!(warp.open[i].mask & warp.alive & ~warp.open[i].arrived)) meet(warp, i, nullptr);
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
  return fresh ? &threads_[order(next_fresh_++)] : nullptr;
}

/// The running fiber gives way. Comes back when its thread may go on, or, finished, with a new one in to_start_.
void Worker::leave(bool finished) {
  Thread* next = pick();
  if (!next) {
    if (alive_) fail(cudaErrorLaunchFailure, deadlock(), {nullptr, 0});
    if (!tsan::kOn) free_.push_back(current_);
    return go(&base_, nullptr);
  }
  if (next->state != Thread::fresh) {
    if (finished && !tsan::kOn) free_.push_back(current_);
    next->state = Thread::running;
    return go(next->fiber, next);
  }
  to_start_ = next;
  if (finished && !tsan::kOn) return go(current_, next);
  // ThreadSanitizer: each thread its own stack, because what two threads leave on one would look like a race.
  Fiber* fiber = nullptr;
  if (tsan::kOn) {
    while (fibers_.size() < count_) fibers_.push_back(std::make_unique<Fiber>());
    fiber = fibers_[next->linear].get();
  } else if (!free_.empty()) {
    fiber = free_.back();
    free_.pop_back();
  } else {
    fibers_.push_back(std::make_unique<Fiber>());
    fiber = fibers_.back().get();
  }
  if (!fiber->context) {
    fiber->owner = this;
    if (!make_fiber(*fiber, [](Fiber& f) { static_cast<Worker*>(f.owner)->fiber_main(); })) {
      fail(cudaErrorMemoryAllocation, "no memory for the stack of a GPU thread", {nullptr, 0});
    }
  }
  go(fiber, next);
}

void Worker::go(Fiber* target, Thread* next) {
  Fiber* here = current_;
  current_ = target;
  set_self(next);
  tsan::switch_to(next ? next->tsan_fiber : base_tsan_);
  if (here != target) switch_fiber(*here, *target);
}

void Worker::fail(cudaError_t code, const std::string& what, Site site) {
  launch->failed = true;
  abandoned_ = true;
  {
    const tsan::Own own;
    std::ostringstream out;
    out << what << " (";
    if (site.file) out << site << ", ";
    out << "block " << block_;
    if (self && site.file) out << ", thread " << self->index;
    out << ")";
    set_sticky(code, out.str());
  }
  tsan::switch_to(base_tsan_);
  Fiber* here = current_;
  if (here == &base_) throw std::bad_alloc();
  current_ = &base_;
  set_self(nullptr);
  abandon_fiber(*here, base_);
  __builtin_unreachable();
}

void trap(Site site) { this_worker()->fail(cudaErrorLaunchFailure, "__trap: the kernel gave up", site); }

}  // namespace emu
