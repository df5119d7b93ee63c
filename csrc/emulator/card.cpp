// The emulated card's properties. Figures: NVIDIA's data sheets and the table of compute capabilities in the CUDA
// programming guide; memory as the runtime reports it, a little below the nominal size.
#include <algorithm>
#include <cstring>
#include <mutex>

#include "emulator/core.h"
#include "emulator/settings.h"
#include "emulator/stream.h"

namespace emu {
namespace {

struct Card {
  const char *key, *name;
  int major, minor, multiprocessors, threads, blocks;
  uint64_t memory;
  int l2, bus_bits, shared_kib, shared_block_kib;  // per multiprocessor; per block after opting in
};
constexpr Card kCards[] = {
    {"t4", "Tesla T4 (emulated)", 7, 5, 40, 1024, 16, 15828320256u, 4 << 20, 256, 64, 64},
    {"a100", "NVIDIA A100-SXM4-80GB (emulated)", 8, 0, 108, 2048, 32, 84974239744u, 40 << 20, 5120, 164, 163},
    {"h200", "NVIDIA H200 (emulated)", 9, 0, 132, 2048, 32, 150121545728u, 60 << 20, 6144, 228, 227},
};

std::mutex mutex;
Card card{};  // key null: not chosen yet

/// Under the mutex.
const Card& chosen() {
  for (const Card& c : kCards) {
    if (!card.key && settings().card == c.key) card = c;
  }
  return card;
}

}  // namespace

bool set_card(const std::string& name, uint64_t total_memory) {
  std::lock_guard<std::mutex> lock(mutex);
  for (const Card& c : kCards) {
    if (name != c.key) continue;
    card = c;
    if (total_memory) card.memory = total_memory;
    return true;
  }
  return false;
}

int arch() {
  std::lock_guard<std::mutex> lock(mutex);
  return chosen().major * 10 + chosen().minor;
}

cudaError_t blocks_per_multiprocessor(int* blocks, int threads, size_t dynamic_shared) {
  cudaDeviceProp p;
  cudaGetDeviceProperties(&p, 0);
  if (threads < 1 || threads > p.maxThreadsPerBlock)
    return refuse(cudaErrorInvalidValue, "occupancy: threads");
  *blocks =
      std::min(p.maxThreadsPerMultiProcessor / ((threads + 31) / 32 * 32), p.maxBlocksPerMultiProcessor);
  const size_t shared = dynamic_shared + p.reservedSharedMemPerBlock;
  if (dynamic_shared) *blocks = std::min(*blocks, static_cast<int>(p.sharedMemPerMultiprocessor / shared));
  return cudaSuccess;
}

}  // namespace emu

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* p, int device) {
  if (device != 0) return emu::refuse(cudaErrorInvalidDevice, "device " + std::to_string(device) + " of 1");
  std::lock_guard<std::mutex> lock(emu::mutex);
  const emu::Card& c = emu::chosen();
  *p = {};
  std::strncpy(p->name, c.name, sizeof p->name - 1);
  p->totalGlobalMem = c.memory;
  p->sharedMemPerBlock = 48 << 10;
  p->sharedMemPerBlockOptin = static_cast<size_t>(c.shared_block_kib) << 10;
  p->sharedMemPerMultiprocessor = static_cast<size_t>(c.shared_kib) << 10;
  p->reservedSharedMemPerBlock = c.major >= 8 ? 1024 : 0;
  p->regsPerBlock = p->regsPerMultiprocessor = 65536;
  p->warpSize = 32;
  p->maxThreadsPerBlock = 1024;
  p->maxThreadsPerMultiProcessor = c.threads;
  p->maxBlocksPerMultiProcessor = c.blocks;
  p->maxThreadsDim[0] = p->maxThreadsDim[1] = 1024;
  p->maxThreadsDim[2] = 64;
  p->maxGridSize[0] = 2147483647;
  p->maxGridSize[1] = p->maxGridSize[2] = 65535;
  p->major = c.major;
  p->minor = c.minor;
  p->multiProcessorCount = c.multiprocessors;
  p->l2CacheSize = c.l2;
  p->memoryBusWidth = c.bus_bits;
  p->asyncEngineCount = 3;
  p->concurrentKernels = p->unifiedAddressing = p->memoryPoolsSupported = 1;
  return cudaSuccess;
}

cudaError_t cudaGetDeviceCount(int* count) {
  *count = 1;
  return cudaSuccess;
}
cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) {
  return device == 0 ? cudaSuccess
                     : emu::refuse(cudaErrorInvalidDevice, "device " + std::to_string(device) + " of 1");
}
cudaError_t cudaDeviceSynchronize() { return emu::drain_all(); }
cudaError_t cudaDeviceReset() {
  emu::drain_all();
  emu::reset_errors();
  return cudaSuccess;
}
cudaError_t cudaDriverGetVersion(int* version) {
  *version = 13000;
  return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = 13000;
  return cudaSuccess;
}
