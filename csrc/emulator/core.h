// The emulator's insides: what a launch, a worker (one OS thread), a block, a warp and a GPU thread are.
//
// One block runs wholly on one worker. Its GPU threads are fibers; a fiber takes one thread after another, and only
// a thread that has to wait keeps its stack, so that element-wise kernels never switch. Barriers and warp
// collectives are meeting points: who arrives early waits, the last to arrive computes for all.
#pragma once

#include <cuda_runtime.h>
#include <fastcnn_emulator.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <functional>
#include <memory>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "emulator/counters.h"
#include "emulator/fiber.h"

namespace emu {

std::ostream& operator<<(std::ostream& out, Site site);
std::ostream& operator<<(std::ostream& out, uint3 v);
/// The parts one after the other: text of an error.
template <class... Parts>
std::string text(const Parts&... parts) {
  std::ostringstream out;
  (out << ... << parts);
  return out.str();
}

// ---- memory as kernels may touch it ----
// Filled with NaN, between red zones. Global: exact sizes in a registry that kernels are checked against; under
// AddressSanitizer the host may not touch it: it is open only while device work runs. Shared: a worker's arena,
// variables at multiples of 128 bytes, so that their banks are those of the card, new for each block.
struct Allocation {
  char* base;
  size_t bytes;
  Site site;
  bool host;                   // pinned: both sides may touch it
  const char* name = nullptr;  // of a variable in shared memory
  const void* key = nullptr;   // whose it is
};
std::ostream& operator<<(std::ostream& out, const Allocation& a);
/// By address.
using Allocations = std::vector<Allocation>;

/// As it is now; never changed afterwards.
std::shared_ptr<const Allocations> allocations();
/// The allocation that holds p, or ends up to `slack` bytes before it; or null.
const Allocation* find(const Allocations& all, const void* p, size_t slack = 0);
/// What is there before the first use: NaN between the canaries of the red zones.
void fill(char* base, size_t bytes);
/// "" or what wrote into the red zones of which allocation.
std::string broken_red_zone(const Allocations& all);

/// A piece of device work (streams do one at a time); memory is open to it.
struct DeviceWork {
  DeviceWork();
  ~DeviceWork();
};

class Shared {
 public:
  /// Begins a block: forgets the variables, makes the dynamic part.
  void open(size_t dynamic_bytes, size_t limit);
  void* dynamic() { return arena_; }
  /// Made at first use. Fails if the variables exceed the limit of the launch.
  void* variable(const void* key, size_t bytes, const char* name, Site site);
  const Allocations& variables() const { return variables_; }
  bool holds(const void* p) const { return p >= arena_ && p < arena_ + kBytes; }
  size_t offset(const void* p) const { return static_cast<size_t>(static_cast<const char*>(p) - arena_); }

 private:
  static constexpr size_t kBytes = 512 << 10, kZone = 128, kAlign = 1024;
  char* const arena_ = static_cast<char*>(std::aligned_alloc(kAlign, kAlign + kBytes)) + kAlign;  // stays
  Allocations variables_;
  size_t top_ = 0, used_ = 0, limit_ = 0;
};

// ---- what runs ----
struct Launch {
  const cudaLaunchConfig_t config;
  const size_t shared_limit;
  const std::function<void()>& body;
  const Order order = settings().order;
  const uint64_t seed = settings().seed;
  const bool counting = emu::counting();
  const std::shared_ptr<const Allocations> memory = allocations();
  std::atomic<uint64_t> next_block{0};
  std::atomic<bool> failed{false};
  uint64_t blocks() const { return uint64_t{config.gridDim.x} * config.gridDim.y * config.gridDim.z; }
};

struct Copy {
  void* to;
  const void* from;
  int bytes, source_bytes, group;
};
struct Warp;
struct Thread {
  uint3 index;
  enum State { fresh, running, at_barrier, done } state;
  unsigned linear, lane;
  Warp* warp;
  Fiber* fiber;  // while it waits
  void* tsan_fiber = nullptr;
  std::vector<Copy> copies;  // issued and not yet done
  int groups;                // committed so far
};

/// Computes for all participating lanes: args[lane] is null for the others.
using Apply = void (*)(void* const* args);
struct Collective {
  unsigned mask, arrived;
  const char* name;
  Apply apply;
  Site site;
  void* args[32];
};
struct Warp {
  unsigned alive;
  std::vector<Collective> open;
  unsigned meetings;  // finished so far
  // Two objects in turn: who is early for the next meeting must not order who is late for this one.
  char tsan_sync[2];
  WarpTraffic traffic;
};
struct Barrier {
  unsigned waiting, phase;
  Site site;
  unsigned first;  // thread
  char tsan_sync[2];
};

class Worker {
 public:
  /// Runs blocks of the launch until none is left. `index` of `workers` only matters under ThreadSanitizer.
  void run(Launch& launch, uint64_t index, uint64_t workers);

  // For the running GPU thread:
  Thread& thread() const;
  void barrier(Site site);
  void collective(const char* name, unsigned mask, Apply apply, void* arg, Site site);
  /// Records the error with the thread's place and ends the launch.
  template <class... Parts>
  [[noreturn]] void fail(cudaError_t code, Site site, const Parts&... parts) {
    end(code, site, text(parts...));
  }

  Launch* launch = nullptr;
  Shared shared;

 private:
  void run_block(uint64_t number);
  void fiber_main();
  void exit_thread(Thread& t);
  Thread* pick();
  void leave(bool finished);
  void go(Fiber* target, Thread* next, bool for_good = false);
  void meet(Warp& warp, Collective& c, const Thread* last);
  void open_barrier();
  std::string deadlock() const;
  [[noreturn]] void end(cudaError_t code, Site site, const std::string& what);

  uint3 block_{};
  Barrier barrier_{};
  std::vector<Thread> threads_;
  std::vector<Warp> warps_;
  std::vector<unsigned> order_;  // of the block's threads
  std::vector<Thread*> ready_;   // the last goes on first
  unsigned count_ = 0, next_fresh_ = 0, alive_ = 0;
  std::mt19937_64 random_;

  Fiber base_;
  std::deque<Fiber> fibers_;
  std::vector<Fiber*> free_;
  Fiber* current_ = nullptr;
  Thread* to_start_ = nullptr;
  void* base_tsan_ = nullptr;
  char block_sync_[2] = {};  // what comes before the block's threads, after them
};

/// The worker of this OS thread, null outside a launch.
Worker* this_worker();

/// Remembers an error for cudaGetLastError and returns it. The first that `stays` does so until reset_errors(), and all
/// API calls return it.
cudaError_t refuse(cudaError_t code, const std::string& text, bool stays = false);
cudaError_t sticky();

/// Puts work into the stream's turn (streams are queues). Returns the sticky error if there is one.
cudaError_t submit(cudaStream_t stream, std::function<void()> work);
/// Does all that was asked of the stream, of all streams.
cudaError_t drain(cudaStream_t stream);
cudaError_t drain_all();

}  // namespace emu
