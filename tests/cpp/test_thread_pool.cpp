// The thread pool: every task once, slots in range, exceptions, nesting, concurrent callers, resizing, fork,
// interrupts. Run it under ThreadSanitizer too.
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "check.h"
#include "common/check.h"
#include "cpu/thread_pool.h"

using namespace fastcnn;
using namespace fastcnn::cpu;

namespace {

/// Runs `count` tasks and tells whether each ran once, on a slot below `limit` used by one thread at a time.
bool runs_each_once(int64_t count, int limit, int max_slots = 0) {
  std::vector<int> runs(count);  // not atomic on purpose: one task is one thread's, TSan watches
  std::vector<std::atomic<int>> busy(limit);
  std::atomic<bool> ok{true};
  parallel_for(
      count,
      [&](int64_t task, int slot) {
        if (slot < 0 || slot >= limit) {
          ok = false;
          return;
        }
        if (busy[slot].fetch_add(1) != 0) ok = false;
        ++runs[task];
        busy[slot].fetch_sub(1);
      },
      max_slots);
  for (int r : runs) ok = ok && r == 1;
  return ok;
}

void test_counts() {
  for (int threads : {1, 2, 3, 5, 16, 2, 1, 7}) {
    set_num_threads(threads);
    CHECK(num_threads() == threads);
    for (int64_t count : {0, 1, 2, 3, 17, 1000})
      for (int repeat = 0; repeat < 20; ++repeat) CHECK(runs_each_once(count, threads));
    CHECK(runs_each_once(100, 2, 2));
  }
  CHECK_THROWS(set_num_threads(0), ValueError);
  CHECK_THROWS(set_num_threads(1025), ValueError);
}

/// Workers really take part, also after they fell asleep.
void test_workers_help() {
  set_num_threads(3);
  for (int pause_ms : {0, 2}) {
    std::this_thread::sleep_for(std::chrono::milliseconds(pause_ms));
    std::atomic<int> inside{0};
    parallel_for(3, [&](int64_t, int) {
      ++inside;
      const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
      while (inside < 3 && std::chrono::steady_clock::now() < end) std::this_thread::yield();
    });
    CHECK(inside == 3);
  }
}

/// A worker begins with its own stretch, not with the task after the caller's; then each helps with the other's.
void test_stretches() {
  set_num_threads(2);
  std::atomic<int64_t> first{-1};
  std::atomic<int> runs{0};
  parallel_for(100, [&](int64_t task, int slot) {
    ++runs;
    int64_t none = -1;
    if (slot == 1) first.compare_exchange_strong(none, task);
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (slot == 0 && first < 0 && std::chrono::steady_clock::now() < end) std::this_thread::yield();
  });
  CHECK(first == 50);
  CHECK(runs == 100);
}

void test_exceptions() {
  for (int threads : {1, 4}) {
    set_num_threads(threads);
    for (int repeat = 0; repeat < 50; ++repeat) {
      std::string text;
      try {
        parallel_for(64, [&](int64_t task, int) {
          if (task == 5) fail<ValueError>("task ", task);
        });
      } catch (const ValueError& e) {
        text = e.what();
      }
      CHECK(text == "task 5");
      CHECK(runs_each_once(10, threads));
    }
  }
}

void test_nested_and_concurrent() {
  set_num_threads(4);
  std::atomic<int> sum{0};
  parallel_for(8, [&](int64_t, int) {
    parallel_for(10, [&](int64_t, int slot) {
      if (slot == 0) ++sum;
    });
  });
  CHECK(sum == 80);

  std::atomic<bool> ok{true};
  std::vector<std::thread> callers;
  for (int i = 0; i < 4; ++i)
    callers.emplace_back([&ok] {
      for (int repeat = 0; repeat < 200; ++repeat)
        if (!runs_each_once(1 + repeat % 30, 4, 4)) ok = false;
    });
  for (int n = 1; n < 200; ++n) set_num_threads(1 + n % 4);  // resizing under load
  for (auto& t : callers) t.join();
  CHECK(ok);
}

#if !defined(__SANITIZE_THREAD__)  // TSan does not allow new threads in a forked child
void test_fork() {
  set_num_threads(3);
  CHECK(runs_each_once(50, 3));
  const pid_t child = fork();
  if (child == 0) {
    alarm(20);  // a hang ends as a failure
    _exit(runs_each_once(50, 3) && runs_each_once(50, 3) ? 0 : 1);
  }
  int status = -1;
  waitpid(child, &status, 0);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  CHECK(runs_each_once(50, 3));
}
#endif

void test_interrupt() {
  static std::atomic<int> calls;
  static std::thread::id caller;
  static std::atomic<bool> by_caller;
  caller = std::this_thread::get_id();
  for (int threads : {1, 3}) {
    set_num_threads(threads);
    calls = 0;
    by_caller = true;
    set_interrupt_check([] {
      if (std::this_thread::get_id() != caller) by_caller = false;
      return ++calls == 2;
    });
    std::atomic<int> done{0};
    CHECK_THROWS(parallel_for(100000,
                              [&](int64_t, int) {
                                std::this_thread::sleep_for(std::chrono::milliseconds(1));
                                ++done;
                              }),
                 Interrupted);
    CHECK(calls == 2);
    CHECK(by_caller);
    CHECK(done < 2000);
  }
  set_interrupt_check(nullptr);
}

}  // namespace

int main() {
  test_counts();
  test_workers_help();
  test_stretches();
  test_exceptions();
  test_nested_and_concurrent();
  test_interrupt();
#if !defined(__SANITIZE_THREAD__)
  test_fork();
#endif
  return test::report("thread_pool");
}
