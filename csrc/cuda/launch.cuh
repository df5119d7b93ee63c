// The only way to start a kernel: launch("relu", relu_kernel<float>, {grid, block, stream}, arguments...). The same
// call runs on a card and in the emulator.
#pragma once

#include "common/check.h"
#include "cuda/device.cuh"
#if defined(FC_EMULATED)
#include <fastcnn_emulator.h>
#endif

namespace fastcnn::cuda {

#if defined(FC_EMULATED)
constexpr bool kEmulated = true;
#else
constexpr bool kEmulated = false;
#endif

struct Grid {
  dim3 blocks, threads;
  cudaStream_t stream = nullptr;
  size_t dynamic_shared = 0;
};

#if !defined(FC_CUDA_ARCHITECTURES)
#define FC_CUDA_ARCHITECTURES "75 and later"
#endif

/// What a build without code for the current card lacks.
inline std::string missing_image() {
  int device = 0;
#if !defined(FC_EMULATED)
  cudaGetDevice(&device);
#endif
  cudaDeviceProp card;
  if (cudaGetDeviceProperties(&card, device) != cudaSuccess) return "";
  return std::string("; ") + card.name + " is sm_" + std::to_string(card.major * 10 + card.minor) +
         ", this build has kernels for sm_" FC_CUDA_ARCHITECTURES
         "; build with -DFASTCNN_CUDA_ARCHITECTURES, or use device=\"cpu\"";
}

/// Throws DeviceError unless `code` is cudaSuccess.
inline void check(cudaError_t code, const char* what) {
  if (code == cudaSuccess) return;
  cudaGetLastError();
#if defined(FC_EMULATED)
  std::string text = ::emu::error_text();
  ::emu::reset_errors();  // a kernel's error would stay until the end of the process, as on a card
#else
  std::string text = cudaGetErrorString(code);
#endif
  if (code == cudaErrorNoKernelImageForDevice) text += missing_image();
  fail<DeviceError>(what, ": CUDA error ", static_cast<int>(code), " (", cudaGetErrorName(code), "), ", text);
}

template <class... Params, class... Args>
void launch(const char* name, void (*kernel)(Params...), const Grid& grid, const Args&... args) {
  if (grid.blocks.x == 0 || grid.blocks.y == 0 || grid.blocks.z == 0) return;  // nothing to do
  if (grid.dynamic_shared > 48 << 10) {
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                               static_cast<int>(grid.dynamic_shared)),
          name);
  }
  cudaLaunchConfig_t config = {};
  config.gridDim = grid.blocks;
  config.blockDim = grid.threads;
  config.dynamicSmemBytes = grid.dynamic_shared;
  config.stream = grid.stream;
  check(cudaLaunchKernelEx(&config, kernel, Params(args)...), name);
}

}  // namespace fastcnn::cuda
