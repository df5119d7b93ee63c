#include "cpu/peak.h"

#include <atomic>
#include <chrono>

#include "cpu/isa.h"
#include "cpu/thread_pool.h"

namespace fastcnn::cpu {

double measure_flops(double seconds) {
  using Clock = std::chrono::steady_clock;
  const PeakKernels& peak = kernels().peak;
  const int threads = num_threads();
  std::atomic<double> sink{0};
  const auto run = [&](int64_t steps) {
    const auto start = Clock::now();
    parallel_for(threads, [&](int64_t task, int) { sink = double(peak.multiply_add(steps, float(task))); });
    return std::chrono::duration<double>(Clock::now() - start).count();
  };
  int64_t steps = 1 << 12;
  double took = run(steps);  // also wakes the workers
  while (took < seconds / 4) {
    steps *= 2;
    took = run(steps);
  }
  double best = took;
  for (int i = 0; i < 3; ++i) {
    took = run(steps);
    best = took < best ? took : best;
  }
  return double(steps) * peak.flops_per_step * threads / best;
}

}  // namespace fastcnn::cpu
