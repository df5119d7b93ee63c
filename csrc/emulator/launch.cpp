// A launch: checked as the card would, then its blocks shared out over OS threads.
#include <algorithm>
#include <future>
#include <map>
#include <mutex>

#include "emulator/core.h"
#include "emulator/sanitizers.h"

namespace emu {

/// What its launches may have of dynamic shared memory, until they opt into more.
static std::atomic<size_t>& shared_limit(const void* kernel) {
  static std::map<const void*, std::atomic<size_t>> limits;
  static std::mutex mutex;
  std::lock_guard<std::mutex> lock(mutex);
  return limits.try_emplace(kernel, size_t{48} << 10).first->second;
}

static std::string shape_of(dim3 v) { return text(v.x, "x", v.y, "x", v.z); }

/// Runs the launch on as many workers as pay; one launch at a time (streams).
static void run_on_workers(Launch& launch) {
  static auto* const workers = new std::deque<Worker>;  // never destroyed: their stacks serve all launches
  const dim3 block = launch.config.blockDim;
  uint64_t n = static_cast<uint64_t>(settings().workers);
  if (launch.blocks() * block.x * block.y * block.z < 4096) n = 1;  // a thread costs more
  if (tsan::kOn) n = std::max<uint64_t>(n, 2);                      // races between blocks
  n = std::min(n, launch.blocks());
  while (workers->size() < n) workers->emplace_back();
  std::vector<std::future<void>> others;
  for (uint64_t i = 1; i < n; ++i) {
    others.push_back(std::async(std::launch::async, [&, i] { (*workers)[i].run(launch, i, n); }));
  }
  workers->front().run(launch, 0, n);
  for (auto& other : others) other.get();
}

cudaError_t launch_grid(const cudaLaunchConfig_t& config, const void* kernel, std::function<void()> body) {
  if (const cudaError_t s = sticky(); s != cudaSuccess) return s;
  if (arch() < 75) return refuse(cudaErrorNoKernelImageForDevice, "no kernel image for the device");
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
    Launch launch{config, limit, body};
    run_on_workers(launch);
    const std::string broken = broken_red_zone(*allocations());
    if (!broken.empty()) refuse(cudaErrorIllegalAddress, broken, true);
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
  shared_limit(kernel) = std::max<size_t>(static_cast<size_t>(bytes), 48 << 10);
  return cudaSuccess;
}

}  // namespace emu
