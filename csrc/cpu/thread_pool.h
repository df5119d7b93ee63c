// The library's own threads. The caller works too; idle workers spin for 200 microseconds, then sleep. Each thread begins
// with its own stretch of the tasks, then helps with the others'. Work is split into tasks by the problem, never by the
// number of threads, so results have the same bits for any number of them; a task's `slot` (0 .. num_threads()-1) only
// chooses its scratch memory. Workers that wake may run on the caller's CPUs except the one it is on.
#pragma once

#include <cstdint>
#include <type_traits>

namespace fastcnn::cpu {

/// FASTCNN_NUM_THREADS, else OMP_NUM_THREADS, else the CPUs in this process's affinity mask.
/// ValueError if FASTCNN_NUM_THREADS is not a number from 1 to 1024.
int num_threads();
constexpr int kMaxThreads = 1024;
/// 1 .. kMaxThreads; more threads than cores are allowed (and tested).
void set_num_threads(int n);

using TaskFn = void (*)(void* context, int64_t task, int slot);
/// Runs fn(context, task, slot) once for each task in [0, count). Returns when all are done. Safe to call
/// from many threads (one job at a time gets the workers, the others run on their caller alone), from inside
/// a task (runs inline, slot 0) and in a forked child (workers are started anew). An exception in a task is
/// rethrown here. Slots stay below `max_slots` where it is given: a caller that made scratch for so many
/// threads is safe from a set_num_threads elsewhere.
void parallel_tasks(int64_t count, TaskFn fn, void* context, int max_slots = 0);

template <class F>
void parallel_for(int64_t count, F&& f, int max_slots = 0) {
  parallel_tasks(
      count,
      [](void* context, int64_t task, int slot) {
        (*static_cast<std::remove_reference_t<F>*>(context))(task, slot);
      },
      const_cast<void*>(static_cast<const void*>(&f)), max_slots);
}

/// Called between tasks by the thread that called parallel_tasks, at most every 50 ms; returns true to stop.
/// The bindings install one that looks for Ctrl-C. parallel_tasks then throws Interrupted.
void set_interrupt_check(bool (*check)());
/// While one lives, this thread does not ask: its jobs run to their end.
class Uninterrupted {
 public:
  Uninterrupted();
  ~Uninterrupted();
  Uninterrupted(const Uninterrupted&) = delete;
  Uninterrupted& operator=(const Uninterrupted&) = delete;

 private:
  bool outer_;
};

}  // namespace fastcnn::cpu
