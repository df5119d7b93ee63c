// Device arrays for the emulator's tests.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <vector>

#include "check.h"
#include "cuda/launch.cuh"

namespace test {

#if defined(__SANITIZE_THREAD__)
constexpr bool kThreadSanitizer = true;
#else
constexpr bool kThreadSanitizer = false;
#endif

/// An array on the device, freed with its owner.
template <class T>
struct Device {
  T* p = nullptr;
  size_t n;
  explicit Device(size_t count) : n(count) { cudaMalloc(&p, n * sizeof(T)); }
  explicit Device(const std::vector<T>& values) : Device(values.size()) {
    cudaMemcpy(p, values.data(), n * sizeof(T), cudaMemcpyHostToDevice);
  }
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;
  ~Device() { cudaFree(p); }
  std::vector<T> host() const {
    std::vector<T> values(n);
    cudaMemcpy(values.data(), p, n * sizeof(T), cudaMemcpyDeviceToHost);
    return values;
  }
};

/// Calls f in each order of threads.
template <class F>
void in_all_orders(F&& f) {
  emu::set_order(emu::Order::forward);
  f();
  emu::set_order(emu::Order::reverse);
  f();
  for (uint64_t seed = 1; seed <= 4; ++seed) {
    emu::set_order(emu::Order::shuffle, seed);
    f();
  }
  emu::set_order(emu::Order::forward);
}

}  // namespace test
