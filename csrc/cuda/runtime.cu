#include <array>
#include <cstdlib>
#include <memory>
#include <mutex>

#include "cuda/launch.cuh"
#include "cuda/runtime.h"
#include "cuda/streams.h"

namespace fastcnn::cuda {
namespace {

struct Cards {
  int count = 0;
  std::string why_none;
  std::mutex mutex;
  std::array<std::unique_ptr<DeviceProps>, kMaxDevices> props;
};

Cards& cards() {
  static Cards* found = [] {
    auto* c = new Cards;  // never destroyed: tensors may outlive static destruction
    const cudaError_t e = cudaGetDeviceCount(&c->count);
    if (e == cudaSuccess) {
      if (c->count > kMaxDevices) c->count = kMaxDevices;
      if (c->count == 0) c->why_none = "no CUDA device was found";
      return c;
    }
    c->count = 0;
    cudaGetLastError();  // the next call starts clean
    const std::string text = str("(error ", static_cast<int>(e), ", ", cudaGetErrorString(e), ")");
    c->why_none = e == cudaErrorInsufficientDriver
                      ? "no CUDA driver is installed, or one that is too old " + text
                  : e == cudaErrorNoDevice ? "no CUDA device was found " + text
                                           : "CUDA does not start " + text;
    return c;
  }();
  return *found;
}

}  // namespace

int device_count() { return cards().count; }
std::string why_no_device() { return cards().why_none; }

const DeviceProps& props_of(int device) {
  Cards& c = cards();
  const std::lock_guard<std::mutex> lock(c.mutex);
  std::unique_ptr<DeviceProps>& slot = c.props.at(static_cast<size_t>(device));
  if (!slot) {
    cudaDeviceProp p;
    check(cudaGetDeviceProperties(&p, device), "device");
    auto props = std::make_unique<DeviceProps>();
    props->name = p.name;
    props->backend = DeviceType::cuda;
    props->sm = p.major * 10 + p.minor;
    props->sm_count = p.multiProcessorCount;
    props->shared_bytes = p.sharedMemPerBlockOptin;
    props->total_bytes = p.totalGlobalMem;
    slot = std::move(props);
  }
  return *slot;
}

void use_device(int device) {
  check(cudaSetDevice(device), "device");  // always: other libraries on this thread choose cards too
}

void synchronize(int device) {
  use_device(device);
  check(cudaDeviceSynchronize(), "synchronize");
  drop_done();
}

void* take_memory(int device, size_t bytes) {
  use_device(device);
  void* data = nullptr;
  const cudaError_t e = cudaMalloc(&data, bytes);
  if (e == cudaErrorMemoryAllocation) {
    cudaGetLastError();  // the caller's error, with a table of who holds what
    return nullptr;
  }
  check(e, "memory");
  return data;
}

void give_memory(int device, void* data) {
  // At the end of the process the driver may be gone before the last tensor is: nothing is left to give back then.
  if (cudaSetDevice(device) == cudaSuccess) cudaFree(data);
  cudaGetLastError();
}

void* take_host_memory(size_t bytes) {
  void* data = nullptr;
  const cudaError_t e = cudaMallocHost(&data, bytes);
  if (e == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    return nullptr;
  }
  check(e, "memory");
  return data;
}

void give_host_memory(void* data) {
  cudaFreeHost(data);
  cudaGetLastError();
}

bool is_page_locked(const void* host) {
  cudaPointerAttributes memory;
  check(cudaPointerGetAttributes(&memory, host), "memory");
  return memory.type == cudaMemoryTypeHost;
}

bool exact_memory() {
  const char* memory = std::getenv("FASTCNN_EMULATOR_MEMORY");
  return kEmulated && !(memory && std::string(memory) == "segments");
}

bool copy_to_device(void* device, const void* host, size_t bytes, void* stream, bool wait) {
  const auto s = static_cast<cudaStream_t>(stream);
  check(cudaMemcpyAsync(device, host, bytes, cudaMemcpyHostToDevice, s), "copy");
  cudaPointerAttributes memory;  // pageable memory has been read by now
  check(cudaPointerGetAttributes(&memory, host), "copy");
  if (memory.type == cudaMemoryTypeUnregistered) return false;
  if (!wait && memory.type == cudaMemoryTypeHost) return true;
  check(cudaStreamSynchronize(s), "copy");
  return false;
}

bool copy_to_host(void* host, const void* device, size_t bytes, void* stream, bool wait) {
  const auto s = static_cast<cudaStream_t>(stream);
  check(cudaMemcpyAsync(host, device, bytes, cudaMemcpyDeviceToHost, s), "copy");
  if (!wait && is_page_locked(host)) return true;
  check(cudaStreamSynchronize(s), "copy");
  return false;
}

void copy_between_devices(void* to, int to_device, const void* from, int from_device, size_t bytes) {
  synchronize(from_device);
  synchronize(to_device);  // streams of our own do not wait for the one that copies
  check(cudaMemcpy(to, from, bytes, cudaMemcpyDefault), "copy");
  synchronize(to_device);
}

int card_of_address(const void* address) {
  cudaPointerAttributes memory;
  check(cudaPointerGetAttributes(&memory, address), "memory");
  return memory.type == cudaMemoryTypeUnregistered || memory.type == cudaMemoryTypeHost ? -1 : memory.device;
}

bool is_emulated() { return kEmulated; }

}  // namespace fastcnn::cuda
