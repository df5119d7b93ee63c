// The sticky error and its text. A kernel's error stays, as on a card, where only the end of the process helps.
#include <mutex>

#include "emulator/core.h"

namespace emu {
namespace {

std::mutex mutex;
std::string last_text;
cudaError_t first_sticky = cudaSuccess;
thread_local cudaError_t last = cudaSuccess;

}  // namespace

void set_sticky(cudaError_t code, const std::string& text) {
  std::lock_guard<std::mutex> lock(mutex);
  if (first_sticky != cudaSuccess) return;
  first_sticky = code;
  last_text = text;
}

cudaError_t sticky() {
  std::lock_guard<std::mutex> lock(mutex);
  return first_sticky;
}

cudaError_t refuse(cudaError_t code, const std::string& text) {
  std::lock_guard<std::mutex> lock(mutex);
  if (first_sticky != cudaSuccess) return first_sticky;
  last = code;
  last_text = text;
  return code;
}

std::string error_text() {
  std::lock_guard<std::mutex> lock(mutex);
  return last_text;
}

void reset_errors() {
  std::lock_guard<std::mutex> lock(mutex);
  first_sticky = last = cudaSuccess;
  last_text.clear();
}

std::string text_of(Site site) {
  return std::string(site.file ? site.file : "?") + ":" + std::to_string(site.line);
}

void trap(const char* what, Site site) {
  this_worker()->fail(cudaErrorLaunchFailure, std::string(what) + ": the kernel gave up", site);
}

}  // namespace emu

cudaError_t cudaPeekAtLastError() {
  const cudaError_t s = emu::sticky();
  return s != cudaSuccess ? s : emu::last;
}
cudaError_t cudaGetLastError() {
  const cudaError_t s = cudaPeekAtLastError();
  emu::last = cudaSuccess;
  return s;
}

static const struct {
  cudaError_t code;
  const char *name, *text;
} kErrors[] = {
    {cudaSuccess, "cudaSuccess", "no error"},
    {cudaErrorInvalidValue, "cudaErrorInvalidValue", "invalid argument"},
    {cudaErrorMemoryAllocation, "cudaErrorMemoryAllocation", "out of memory"},
    {cudaErrorInvalidConfiguration, "cudaErrorInvalidConfiguration", "invalid configuration argument"},
    {cudaErrorInvalidMemcpyDirection, "cudaErrorInvalidMemcpyDirection", "invalid copy direction for memcpy"},
    {cudaErrorInsufficientDriver, "cudaErrorInsufficientDriver",
     "CUDA driver version is insufficient for CUDA runtime version"},
    {cudaErrorNoDevice, "cudaErrorNoDevice", "no CUDA-capable device is detected"},
    {cudaErrorInvalidDevice, "cudaErrorInvalidDevice", "invalid device ordinal"},
    {cudaErrorNoKernelImageForDevice, "cudaErrorNoKernelImageForDevice",
     "no kernel image is available for execution on the device"},
    {cudaErrorInvalidResourceHandle, "cudaErrorInvalidResourceHandle", "invalid resource handle"},
    {cudaErrorNotReady, "cudaErrorNotReady", "device not ready"},
    {cudaErrorIllegalAddress, "cudaErrorIllegalAddress", "an illegal memory access was encountered"},
    {cudaErrorLaunchOutOfResources, "cudaErrorLaunchOutOfResources",
     "too many resources requested for launch"},
    {cudaErrorMisalignedAddress, "cudaErrorMisalignedAddress", "misaligned address"},
    {cudaErrorLaunchFailure, "cudaErrorLaunchFailure", "unspecified launch failure"},
    {cudaErrorNotSupported, "cudaErrorNotSupported", "operation not supported"},
};
const char* cudaGetErrorName(cudaError_t code) {
  for (const auto& row : kErrors) {
    if (row.code == code) return row.name;
  }
  return "unrecognized error code";
}
const char* cudaGetErrorString(cudaError_t code) {
  for (const auto& row : kErrors) {
    if (row.code == code) return row.text;
  }
  return "unrecognized error code";
}
