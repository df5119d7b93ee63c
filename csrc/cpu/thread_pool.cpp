// One pool per process, made on first use and never destroyed (workers may outlive static destructors).
//
// A job is published by opening `gate_`: (serial << 32) | (open << 31) | helpers inside. Workers enter by
// adding one to it while it is open, take tasks and leave by subtracting one. The caller takes tasks as well, then closes
// the gate, so that sleepy workers no longer matter, and waits for the helpers inside. So a job costs only as many wake-ups
// as it can use, and nobody waits for a thread that the OS has not scheduled.
//
// Each thread begins with its own stretch of the tasks, the same one in every job, then helps with the others'. So what a
// thread wrote it finds in its own caches when it reads or writes it again: taken in turns from one counter, most lines
// would come from another core's cache (1x1 24>144@56, N=8, on two cores of a virtual machine: 765 us, by stretches 413).
#include "cpu/thread_pool.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <exception>
#include <memory>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "common/check.h"

namespace fastcnn::cpu {
namespace {

constexpr auto kSpin = std::chrono::microseconds(200);  // longer than Python takes between two ops
constexpr auto kInterruptPeriod = std::chrono::milliseconds(50);
using Clock = std::chrono::steady_clock;

std::atomic<int> g_threads{0};  // 0: not decided yet
std::atomic<bool (*)()> g_interrupt_check{nullptr};

/// What this thread is doing: a nested call runs inline, and only threads that came from outside may look for
/// interrupts (the check may take Python's lock).
enum class Role { outside, caller, worker };
thread_local Role t_role = Role::outside;
thread_local bool t_uninterrupted = false;

class RoleScope {
 public:
  explicit RoleScope(Role role) : previous_(t_role) { t_role = role; }
  ~RoleScope() { t_role = previous_; }

 private:
  Role previous_;
};

inline void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

/// Waits for `done()` up to kSpin; true if it came.
template <class Done>
bool spin_until(const Done& done) {
  const auto end = Clock::now() + kSpin;
  do {
    for (int i = 0; i < 16; ++i) {
      if (done()) return true;
      relax();
    }
  } while (Clock::now() < end);
  return false;
}

/// CPUs that this process may run on (the mask may be wider than cpu_set_t).
int affinity_cpus() {
  for (int cpus = 1024; cpus <= (1 << 20); cpus *= 2) {
    cpu_set_t* set = CPU_ALLOC(cpus);
    if (!set) break;
    const size_t bytes = CPU_ALLOC_SIZE(cpus);
    const int count = sched_getaffinity(0, bytes, set) == 0 ? CPU_COUNT_S(bytes, set) : 0;
    CPU_FREE(set);
    if (count > 0) return count;
  }
  const int n = static_cast<int>(std::thread::hardware_concurrency());
  return n > 0 ? n : 1;
}

/// The number in `text`, 0 if it is none or out of range. OMP_NUM_THREADS may be a list: its first counts.
int parse_threads(const char* text, bool list) {
  char* end = nullptr;
  const long n = std::strtol(text, &end, 10);
  const bool clean = end != text && (*end == '\0' || (list && *end == ','));
  return clean && n >= 1 && n <= kMaxThreads ? static_cast<int>(n) : 0;
}

int default_threads() {
  if (const char* text = std::getenv("FASTCNN_NUM_THREADS"); text && *text) {
    const int n = parse_threads(text, false);
    FC_CHECK(n, "FASTCNN_NUM_THREADS: not a number of threads, got \"", text, "\", expected 1 to ",
             kMaxThreads, "; unset it to use all CPUs of this process");
    return n;
  }
  if (const char* text = std::getenv("OMP_NUM_THREADS"); text && *text)
    if (const int n = parse_threads(text, true)) return n;
  const int n = affinity_cpus();
  return n < kMaxThreads ? n : kMaxThreads;
}

class Pool {
 public:
  /// False if another job has the workers.
  bool try_run(int64_t count, TaskFn fn, void* context, int threads);
  void run_alone(int64_t count, TaskFn fn, void* context);

 private:
  static constexpr uint64_t kOpen = uint64_t{1} << 31;
  static constexpr uint64_t kInside = kOpen - 1;

  void resize(int workers);
  void make_way();
  void worker_main(int index, uint64_t seen);
  void take_tasks(int slot, int stretch, bool check_interrupt);
  bool poll_interrupt(Clock::time_point* last);

  std::mutex job_mutex_;  // held by the caller whose job the workers do
  std::vector<std::thread> workers_;
  std::atomic<bool> spin_{true};
  int kept_free_ = -1;  // the CPU that workers may not run on

  // The job; written by its caller while the gate is closed and nobody is inside.
  TaskFn fn_ = nullptr;
  void* context_ = nullptr;
  int helpers_ = 0;              // so many workers may take tasks
  std::atomic<int> entered_{0};  // gives workers their slots
  struct alignas(64) Stretch {
    std::atomic<int64_t> next{0};  // first task not taken
    int64_t end = 0;
  };
  std::unique_ptr<Stretch[]> stretches_;  // helpers_ + 1 of them; room for every worker and the caller
  std::atomic<bool> stop_{false};         // a task threw, or Ctrl-C
  std::mutex error_mutex_;
  std::exception_ptr error_;
  int64_t error_task_ = 0;

  std::atomic<uint64_t> gate_{0};
  std::atomic<int> sleepers_{0}, keep_{0};  // workers with index >= keep_ end
  std::atomic<bool> caller_waits_{false};
  std::mutex sleep_mutex_;
  std::condition_variable work_cv_, done_cv_;
};

std::atomic<Pool*> g_pool{nullptr};

Pool& pool() {
  Pool* p = g_pool.load(std::memory_order_acquire);
  if (!p) {
    auto fresh = std::make_unique<Pool>();
    if (g_pool.compare_exchange_strong(p, fresh.get(), std::memory_order_acq_rel)) p = fresh.release();
  }
  return *p;
}

// A forked child has only the thread that forked, and locks in unknown states: it starts over with a new pool
// and leaves the old one alone.
void forget_pool() {
  g_pool.store(nullptr, std::memory_order_relaxed);
  t_role = Role::outside;
}
const int g_atfork = pthread_atfork(nullptr, nullptr, forget_pool);

bool Pool::poll_interrupt(Clock::time_point* last) {
  const auto now = Clock::now();
  if (now - *last < kInterruptPeriod || t_uninterrupted) return false;
  *last = now;
  auto* check = g_interrupt_check.load(std::memory_order_relaxed);
  return check && check();
}

void Pool::run_alone(int64_t count, TaskFn fn, void* context) {
  const bool check_interrupt = t_role != Role::worker;
  RoleScope scope(t_role == Role::outside ? Role::caller : t_role);
  auto last = Clock::now();
  for (int64_t task = 0; task < count; ++task) {
    if (task > 0 && check_interrupt && poll_interrupt(&last)) throw Interrupted();
    fn(context, task, 0);
  }
}

void Pool::take_tasks(int slot, int stretch, bool check_interrupt) {
  auto last = Clock::now();
  int64_t task = -1;
  try {
    for (int i = 0, stretches = helpers_ + 1; i < stretches; ++i) {
      Stretch& s = stretches_[(stretch + i) % stretches];
      while (!stop_.load(std::memory_order_relaxed)) {
        task = s.next.fetch_add(1, std::memory_order_relaxed);
        if (task >= s.end) break;
        if (check_interrupt && poll_interrupt(&last)) throw Interrupted();
        fn_(context_, task, slot);
      }
    }
  } catch (...) {
    std::lock_guard<std::mutex> lock(error_mutex_);
    if (!error_ || task < error_task_) {
      error_ = std::current_exception();
      error_task_ = task;
    }
    stop_.store(true, std::memory_order_relaxed);
  }
}

void Pool::worker_main(int index, uint64_t seen) {
  t_role = Role::worker;
  for (;;) {
    const auto news = [&] {
      return gate_.load() >> 32 != seen || index >= keep_.load(std::memory_order_relaxed);
    };
    if (!(spin_ && spin_until(news))) {
      std::unique_lock<std::mutex> lock(sleep_mutex_);
      sleepers_.fetch_add(1);
      work_cv_.wait(lock, news);
      sleepers_.fetch_sub(1);
    }
    if (index >= keep_.load(std::memory_order_acquire)) return;
    uint64_t gate = gate_.load(std::memory_order_acquire);
    seen = gate >> 32;
    while ((gate & kOpen) && gate >> 32 == seen) {
      if (!gate_.compare_exchange_weak(gate, gate + 1)) continue;
      const int ticket = entered_.fetch_add(1, std::memory_order_relaxed);
      if (ticket < helpers_) take_tasks(ticket + 1, index + 1, false);
      const uint64_t before = gate_.fetch_sub(1);
      if ((before & (kOpen | kInside)) == 1 && caller_waits_.load()) {
        std::lock_guard<std::mutex> lock(sleep_mutex_);
        done_cv_.notify_one();
      }
      break;
    }
  }
}

/// Grows or shrinks to so many workers; fewer if the system has no more threads to give.
void Pool::resize(int workers) {
  const int now = static_cast<int>(workers_.size());
  if (workers < now) {
    {
      std::lock_guard<std::mutex> lock(sleep_mutex_);
      keep_.store(workers);
      work_cv_.notify_all();
    }
    for (int i = workers; i < now; ++i) workers_[i].join();
    workers_.resize(workers);
  } else if (workers > now) {
    keep_.store(workers);
    workers_.reserve(workers);
    sigset_t all, old;  // signals belong to the application's threads
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    try {
      for (int i = now; i < workers; ++i)
        workers_.emplace_back([this, i, seen = gate_.load() >> 32] { worker_main(i, seen); });
    } catch (const std::system_error&) {
    }
    pthread_sigmask(SIG_SETMASK, &old, nullptr);
  }
  stretches_ = std::make_unique<Stretch[]>(workers_.size() + 1);
  spin_ = static_cast<int>(workers_.size()) < affinity_cpus();
  kept_free_ = -1;
}

/// Keeps workers off the caller's CPU. A thread that wakes where it slept may find the caller there, and where caches are
/// not shared (virtual machines) the scheduler does not look for an idle CPU: the two then take turns on one for some
/// milliseconds. Workers get the caller's own set of CPUs without the one it is on, whenever that has changed.
void Pool::make_way() {
  const int here = sched_getcpu();
  cpu_set_t set;
  if (here == kept_free_ || here < 0 || here >= CPU_SETSIZE || sched_getaffinity(0, sizeof(set), &set) != 0)
    return;
  CPU_CLR(here, &set);
  if (CPU_COUNT(&set) < static_cast<int>(workers_.size())) return;
  for (std::thread& worker : workers_) pthread_setaffinity_np(worker.native_handle(), sizeof(set), &set);
  kept_free_ = here;
}

bool Pool::try_run(int64_t count, TaskFn fn, void* context, int threads) {
  std::unique_lock<std::mutex> job(job_mutex_, std::try_to_lock);
  if (!job) return false;
  const int wanted = num_threads() - 1;
  if (static_cast<int>(workers_.size()) != wanted) resize(wanted);

  fn_ = fn;
  context_ = context;
  helpers_ = static_cast<int>(std::min<int64_t>({count - 1, threads - 1, int64_t(workers_.size())}));
  const auto part = [&](int i) {
    return count / (helpers_ + 1) * i + count % (helpers_ + 1) * i / (helpers_ + 1);
  };
  for (int i = 0; i <= helpers_; ++i) {
    stretches_[i].next.store(part(i), std::memory_order_relaxed);
    stretches_[i].end = part(i + 1);
  }
  entered_.store(0, std::memory_order_relaxed);
  stop_.store(false, std::memory_order_relaxed);
  caller_waits_.store(false, std::memory_order_relaxed);
  error_ = nullptr;
  gate_.store(((gate_.load() >> 32) + 1) << 32 | kOpen);
  if (const int asleep = sleepers_.load(); asleep > 0) {
    make_way();
    std::lock_guard<std::mutex> lock(sleep_mutex_);
    if (helpers_ >= asleep) {
      work_cv_.notify_all();
    } else {
      for (int i = 0; i < helpers_; ++i) work_cv_.notify_one();
    }
  }
  {
    RoleScope scope(Role::caller);
    take_tasks(0, 0, true);
  }
  gate_.fetch_and(~kOpen);
  const auto finished = [&] { return (gate_.load() & kInside) == 0; };
  if (!(spin_ ? spin_until(finished) : finished())) {
    std::unique_lock<std::mutex> lock(sleep_mutex_);
    caller_waits_.store(true);
    done_cv_.wait(lock, finished);
  }
  if (error_) {
    std::exception_ptr error = error_;
    error_ = nullptr;
    job.unlock();
    std::rethrow_exception(error);
  }
  return true;
}

}  // namespace

int num_threads() {
  int n = g_threads.load(std::memory_order_relaxed);
  if (n == 0) {
    const int wanted = default_threads();
    if (g_threads.compare_exchange_strong(n, wanted)) n = wanted;
  }
  return n;
}

void set_num_threads(int n) {
  FC_CHECK(n >= 1 && n <= kMaxThreads, "set_num_threads: wrong number of threads, got ", n,
           ", expected 1 to ", kMaxThreads);
  g_threads.store(n, std::memory_order_relaxed);
}

void parallel_tasks(int64_t count, TaskFn fn, void* context, int max_slots) {
  if (count <= 0) return;
  int threads = num_threads();
  if (max_slots > 0 && max_slots < threads) threads = max_slots;
  Pool& p = pool();
  if (count == 1 || threads == 1 || t_role != Role::outside || !p.try_run(count, fn, context, threads))
    p.run_alone(count, fn, context);
}

void set_interrupt_check(bool (*check)()) { g_interrupt_check.store(check, std::memory_order_relaxed); }
Uninterrupted::Uninterrupted() : outer_(t_uninterrupted) { t_uninterrupted = true; }
Uninterrupted::~Uninterrupted() { t_uninterrupted = outer_; }

}  // namespace fastcnn::cpu
