// From a dtype to the type that kernels use for it.
#pragma once

#include "common/dtype.h"
#include "cuda/device.cuh"

namespace fastcnn::cuda {

/// Calls f(Type<T>{}) with the device's type of a float dtype; any other dtype is a TypeError naming `op`.
template <class F>
decltype(auto) dispatch_device_float(DType t, const char* op, F&& f) {
  switch (t) {
    case DType::float32: return f(Type<float>{});
    case DType::float64: return f(Type<double>{});
    case DType::float16: return f(Type<__half>{});
    case DType::bfloat16: return f(Type<__nv_bfloat16>{});
    default: fail<TypeError>(op, ": this op takes float tensors, got ", name_of(t));
  }
}

/// Calls f(Type<T>{}) with the device's type of any dtype.
template <class F>
decltype(auto) dispatch_device(DType t, F&& f) {
  switch (t) {
    case DType::uint8: return f(Type<uint8_t>{});
    case DType::int32: return f(Type<int32_t>{});
    case DType::int64: return f(Type<int64_t>{});
    case DType::float32: return f(Type<float>{});
    case DType::float64: return f(Type<double>{});
    case DType::float16: return f(Type<__half>{});
    case DType::bfloat16: return f(Type<__nv_bfloat16>{});
    default: return f(Type<bool>{});
  }
}

/// Calls f with an unsigned type of so many bytes: work that only moves elements does not ask what they are.
template <class F>
void with_bytes(size_t bytes, F&& f) {
  switch (bytes) {
    case 1: return f(uint8_t{});
    case 2: return f(uint16_t{});
    case 4: return f(uint32_t{});
    default: return f(uint64_t{});
  }
}

/// True if p is a multiple of `bytes`.
inline bool is_aligned(const void* p, size_t bytes) { return reinterpret_cast<uintptr_t>(p) % bytes == 0; }

template <class T>
constexpr T ceil_div(T a, T b) {
  return (a + b - 1) / b;
}

}  // namespace fastcnn::cuda
