#include "memory/op_clock.h"

#include <atomic>
#include <chrono>
#include <utility>

#include "common/check.h"
#include "memory/allocator.h"
#include "memory/fork_mutex.h"

namespace fastcnn {
namespace {

struct Clock {
  ForkMutex mutex;
  std::vector<OpCall> calls;
  uint32_t threads = 0;
};
Clock& clock_of_process() {
  static Clock* clock = new Clock;  // ops of other threads may end after statics are gone
  return *clock;
}

std::atomic<uint32_t> recording{0};  // 0 while nobody asks
std::atomic<uint32_t> last_recording{0};
std::atomic<int64_t> recording_start{0};

thread_local OpScope* innermost = nullptr;
thread_local uint32_t numbered_in = 0, number_of_thread = 0;  // the thread's number in that recording

int64_t now_ns() {
  using namespace std::chrono;
  return duration_cast<nanoseconds>(steady_clock::now().time_since_epoch()).count();
}

}  // namespace

void OpScope::begin() {
  recording_ = recording.load(std::memory_order_acquire);
  if (!recording_) return;  // stopped meanwhile
  parent_ = std::exchange(innermost, this);
  start_ns_ = now_ns();
}

void OpScope::end() {
  const int64_t total = now_ns() - start_ns_;
  innermost = parent_;
  if (parent_) parent_->inner_ns_ += total;
  Clock& clock = clock_of_process();
  const ForkLock lock(clock.mutex);
  if (recording.load(std::memory_order_acquire) != recording_) return;
  if (numbered_in != recording_) {
    numbered_in = recording_;
    number_of_thread = clock.threads++;
  }
  clock.calls.push_back({current_op(), current_phase(), note_, current_layer(), number_of_thread,
                         start_ns_ - recording_start.load(), total, total - inner_ns_});
}

bool OpScope::clock_runs() { return recording.load(std::memory_order_relaxed) != 0; }

void note_op(const char* text) {
  if (innermost) innermost->note_ = text;
}

void start_op_clock() {
  Clock& clock = clock_of_process();
  const ForkLock lock(clock.mutex);
  FC_CHECK(!recording.load(),
           "profile: got a second profile while one runs, expected one at a time; leave the first before the "
           "next");
  clock.calls.clear();
  clock.threads = 0;
  recording_start.store(now_ns());
  recording.store(++last_recording, std::memory_order_release);
}

std::vector<OpCall> stop_op_clock() {
  Clock& clock = clock_of_process();
  const ForkLock lock(clock.mutex);
  recording.store(0);
  return std::exchange(clock.calls, {});
}

}  // namespace fastcnn
