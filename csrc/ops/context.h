// What every op runs in: a device, its allocator and its stream. An op is written as
//   check -> output shape -> plan -> allocate everything -> launch.
// `launch` is the only line that knows that there are several devices; on a meta device it does nothing.
#pragma once

#include "common/tensor.h"
#include "memory/allocator.h"
#include "memory/kept.h"

namespace fastcnn::ops {

struct Context {
  Device device;
  void* stream = nullptr;  ///< CUDA stream; nullptr on the CPU
  const DeviceProps& props() const { return device_props(device); }
  /// On CUDA, or on the twin of a card.
  bool on_card() const { return props().backend == DeviceType::cuda; }
};
/// With the calling thread's stream.
Context context_of(Device device);
inline Context context_of(const Tensor& t) { return context_of(t.device()); }

/// A device's kernel for one op: takes a plain struct of pointers and extents.
template <class Params>
using CpuKernel = void (*)(const Params&);
template <class Params>
using CudaKernel = void (*)(const Params&, void* stream);

/// An argument's type that others decide: nullptr fits.
template <class T>
struct NotDeduced {
  using type = T;
};

/// The CUDA kernel of this name, in a build with CUDA: launch(ctx, op, params, cpu::relu, FC_CUDA(relu)).
#if defined(FC_WITH_CUDA)
#define FC_CUDA(kernel) fastcnn::cuda::kernel
#else
#define FC_CUDA(kernel) nullptr
#endif
/// The calling thread works with this card from now on; nothing in a build without CUDA.
void use_device(Device device);
/// op runs on CUDA and has no kernel there.
[[noreturn]] void no_cuda_kernel(const char* op);

/// `cuda` is nullptr in a build without that kernel; then running on CUDA is a DeviceError that says so.
template <class Params>
void launch(const Context& ctx, const char* op, const Params& params, CpuKernel<Params> cpu,
            typename NotDeduced<CudaKernel<Params>>::type cuda = nullptr) {
  if (ctx.device.type == DeviceType::cpu) {
    cpu(params);
  } else if (ctx.device.type == DeviceType::cuda) {
    if (!cuda) no_cuda_kernel(op);
    use_device(ctx.device);
    cuda(params, ctx.stream);
  }
}

/// Uninitialised tensors. The category says why the memory exists, for the memory report.
Tensor empty(const Dims& shape, DType dtype, Device device, Category category = Category::temporary);
Tensor empty_channels_last(const Dims& shape, DType dtype, Device device,
                           Category category = Category::temporary);
Tensor empty_strided(const Dims& shape, const Dims& strides, DType dtype, Device device,
                     Category category = Category::temporary);
/// On the CPU, in page-locked memory; DeviceError without a card.
Tensor empty_pinned(const Dims& shape, const Dims& strides, DType dtype);
/// Same shape and memory order as `t` (dense), by default the same dtype.
Tensor empty_like(const Tensor& t);
Tensor empty_like(const Tensor& t, DType dtype);

/// All tensors on one device, else ValueError naming both.
void check_same_device(const char* op, std::initializer_list<const Tensor*> tensors);
/// All of one dtype, else TypeError naming both.
void check_same_dtype(const char* op, std::initializer_list<const Tensor*> tensors);
void check_float(const char* op, const Tensor& t);
/// In-place targets: not read-only, and no two elements share memory (expanded, sliding windows).
void check_writable(const char* op, const Tensor& t);
/// An operand of an op that writes `target` in place: `operand` itself, or a copy of it where the two share memory,
/// so that the op reads what was there before it. Elementwise ops read each element just before they write it: they
/// need no copy of an operand that lies exactly as the target does (x += x), only of others (x[1:] += x[:-1]).
Tensor unaliased(const Tensor& target, const Tensor& operand, bool elementwise);

}  // namespace fastcnn::ops
