// A launch: checked as the card would, then its blocks shared out over OS threads that stay.
#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <map>
#include <mutex>
#include <thread>

#include "emulator/core.h"
#include "emulator/sanitizers.h"

namespace emu {
namespace {

/// Threads that wait for launches; one launch at a time (DeviceWork). Never destroyed; a forked child gets its own.
class Pool {
 public:
  void run(Launch& launch, int n) {
    while (static_cast<int>(workers_.size()) < n) {
      workers_.push_back(std::make_unique<Worker>());
      const size_t index = workers_.size() - 1;
      if (index > 0) std::thread([this, index] { work(index); }).detach();
    }
    {
      std::lock_guard<std::mutex> lock(mutex_);
      launch_ = &launch;
      helpers_ = left_ = n - 1;
      ++generation_;
    }
    wake_.notify_all();
    workers_[0]->run(launch, 0, static_cast<uint64_t>(n));
    std::unique_lock<std::mutex> lock(mutex_);
    finished_.wait(lock, [this] { return left_ == 0; });
    launch_ = nullptr;
  }
  const pid_t process = getpid();

 private:
  void work(size_t index) {
    uint64_t seen = 0;
    for (;;) {
      Launch* launch;
      uint64_t n;
      Worker* worker;
      {
        std::unique_lock<std::mutex> lock(mutex_);
        wake_.wait(lock, [&] { return generation_ != seen && launch_ && index <= helpers_; });
        seen = generation_;
        launch = launch_;
        n = helpers_ + 1;
        worker = workers_[index].get();
      }
      worker->run(*launch, index, n);
      std::lock_guard<std::mutex> lock(mutex_);
      if (--left_ == 0) finished_.notify_all();
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_, finished_;
  std::vector<std::unique_ptr<Worker>> workers_;
  Launch* launch_ = nullptr;
  uint64_t generation_ = 0, helpers_ = 0, left_ = 0;
};

std::mutex limits_mutex;
std::map<const void*, size_t> limits;  // kernels that opted into more shared memory

size_t shared_limit(const void* kernel) {
  std::lock_guard<std::mutex> lock(limits_mutex);
  const auto at = limits.find(kernel);
  return at == limits.end() ? 48 << 10 : std::max<size_t>(at->second, 48 << 10);
}

std::string shape_of(dim3 v) { return text(v.x, "x", v.y, "x", v.z); }

}  // namespace

void run_on_workers(Launch& launch) {
  static Pool* pool = new Pool;
  if (pool->process != getpid()) pool = new Pool;
  const uint64_t threads = launch.blocks() * launch.block.x * launch.block.y * launch.block.z;
  uint64_t n = static_cast<uint64_t>(settings().workers);
  if (threads < 4096) n = 1;                    // waking somebody costs more
  if (tsan::kOn) n = std::max<uint64_t>(n, 2);  // races between blocks
  pool->run(launch, static_cast<int>(std::min(n, launch.blocks())));
}

cudaError_t launch_grid(const cudaLaunchConfig_t& config, const void* kernel, std::function<void()> body) {
  if (const cudaError_t s = sticky(); s != cudaSuccess) return s;
  const dim3 grid = config.gridDim, block = config.blockDim;
  const uint64_t threads = uint64_t{block.x} * block.y * block.z;
  if (!threads || threads > 1024 || block.z > 64 || !grid.x || !grid.y || !grid.z || grid.x > 2147483647u ||
      grid.y > 65535 || grid.z > 65535) {
    return refuse(
        cudaErrorInvalidConfiguration,
        text("launch: invalid grid or block, got grid ", shape_of(grid), ", block ", shape_of(block),
             ", expected 1 to 2147483647x65535x65535 blocks of 1 to 1024 threads"));
  }
  const size_t limit = shared_limit(kernel);
  if (config.dynamicSmemBytes > limit) {
    return refuse(cudaErrorInvalidValue,
                  text("launch: too much dynamic shared memory, got ", config.dynamicSmemBytes,
                       " bytes, expected at most ", limit, "; cudaFuncSetAttribute raises it"));
  }
  return submit(config.stream, [config, limit, body = std::move(body)] {
    DeviceWork open;
    Launch launch;
    launch.grid = config.gridDim;
    launch.block = config.blockDim;
    launch.dynamic_shared = config.dynamicSmemBytes;
    launch.shared_limit = limit;
    launch.body = &body;
    launch.order = settings().order;
    launch.seed = settings().seed;
    launch.counting = counting();
    launch.memory = allocations();
    run_on_workers(launch);
    if (const std::string text = broken_red_zone(); !text.empty()) set_sticky(cudaErrorIllegalAddress, text);
  });
}

cudaError_t allow_shared(const void* kernel, int bytes) {
  cudaDeviceProp card;
  cudaGetDeviceProperties(&card, 0);
  if (bytes < 0 || static_cast<size_t>(bytes) > card.sharedMemPerBlockOptin) {
    return refuse(cudaErrorInvalidValue,
                  text("cudaFuncSetAttribute: too much dynamic shared memory, got ", bytes,
                       " bytes, expected at most ", card.sharedMemPerBlockOptin));
  }
  std::lock_guard<std::mutex> lock(limits_mutex);
  limits[kernel] = static_cast<size_t>(bytes);
  return cudaSuccess;
}

}  // namespace emu
