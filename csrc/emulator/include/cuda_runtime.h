// Stand-in for the toolkit's header of the same name: with this folder first on the include path, a .cu file is
// C++17 and runs on the CPU. csrc/README.md tells what the emulator checks and what it cannot show. Below: the part of
// the CUDA runtime that the library calls; names, values and meanings are CUDA's.
#pragma once

#include <cstddef>
#include <functional>
#include <tuple>
#include <type_traits>
#include <utility>

#include "emulator/device.h"

#define EMULATOR_ERRORS(X)            \
  X(Success, 0)                       \
  X(ErrorInvalidValue, 1)             \
  X(ErrorMemoryAllocation, 2)         \
  X(ErrorInvalidConfiguration, 9)     \
  X(ErrorInsufficientDriver, 35)      \
  X(ErrorNoDevice, 100)               \
  X(ErrorInvalidDevice, 101)          \
  X(ErrorNoKernelImageForDevice, 209) \
  X(ErrorInvalidResourceHandle, 400)  \
  X(ErrorNotReady, 600)               \
  X(ErrorIllegalAddress, 700)         \
  X(ErrorLaunchOutOfResources, 701)   \
  X(ErrorMisalignedAddress, 716)      \
  X(ErrorLaunchFailure, 719)          \
  X(ErrorNotSupported, 801)
#define EMULATOR_ROW(name, code) cuda##name = code,
enum cudaError_t { EMULATOR_ERRORS(EMULATOR_ROW) };
#undef EMULATOR_ROW
const char* cudaGetErrorName(cudaError_t code);
const char* cudaGetErrorString(cudaError_t code);
cudaError_t cudaGetLastError();

struct cudaDeviceProp {
  char name[256];
  size_t totalGlobalMem, sharedMemPerBlockOptin;
  int major, minor, multiProcessorCount;
};
cudaError_t cudaGetDeviceCount(int* count);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* card, int device);
cudaError_t cudaDeviceSynchronize();

struct CUstream_st;
struct CUevent_st;
using cudaStream_t = CUstream_st*;
using cudaEvent_t = CUevent_st*;
enum : unsigned { cudaStreamDefault = 0, cudaStreamNonBlocking = 1 };
enum : unsigned { cudaEventDefault = 0, cudaEventBlockingSync = 1, cudaEventDisableTiming = 2 };
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaStreamQuery(cudaStream_t stream);
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags = 0);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags);
cudaError_t cudaEventDestroy(cudaEvent_t event);
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream = nullptr);
cudaError_t cudaEventSynchronize(cudaEvent_t event);
cudaError_t cudaEventQuery(cudaEvent_t event);
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t from, cudaEvent_t to);

enum cudaMemcpyKind {
  cudaMemcpyHostToHost,
  cudaMemcpyHostToDevice,
  cudaMemcpyDeviceToHost,
  cudaMemcpyDeviceToDevice,
  cudaMemcpyDefault,
};
cudaError_t cudaMalloc(void** p, size_t bytes, emu::Site site = EMULATOR_HERE);
cudaError_t cudaFree(void* p);
cudaError_t cudaMallocHost(void** p, size_t bytes, emu::Site site = EMULATOR_HERE);
cudaError_t cudaFreeHost(void* p);
cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind);
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream = nullptr);
template <class T>
cudaError_t cudaMalloc(T** p, size_t bytes, emu::Site site = EMULATOR_HERE) {
  return cudaMalloc(reinterpret_cast<void**>(p), bytes, site);
}
enum cudaMemoryType { cudaMemoryTypeUnregistered, cudaMemoryTypeHost, cudaMemoryTypeDevice };
struct cudaPointerAttributes {
  cudaMemoryType type;
  int device;
};
cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* p);

enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 };
struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  size_t dynamicSmemBytes = 0;
  cudaStream_t stream = nullptr;
};

namespace emu {
/// Checks the configuration as the card would and runs the grid, in the stream's turn.
cudaError_t launch_grid(const cudaLaunchConfig_t& config, const void* kernel, std::function<void()> body);
cudaError_t allow_shared(const void* kernel, int bytes);
}  // namespace emu

template <class... Params, class... Args>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Params...), Args&&... args) {
  std::tuple<std::decay_t<Params>...> values(std::forward<Args>(args)...);  // copied now, as by CUDA
  return emu::launch_grid(*config, reinterpret_cast<const void*>(kernel),
                          [kernel, values] { std::apply(kernel, values); });
}
template <class... Params>
cudaError_t cudaFuncSetAttribute(void (*kernel)(Params...), cudaFuncAttribute, int value) {
  return emu::allow_shared(reinterpret_cast<const void*>(kernel), value);
}
