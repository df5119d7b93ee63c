#include "ops/context.h"

#include <cstdlib>

#include "ops/elementwise.h"

namespace fastcnn::ops {

namespace {

size_t bytes_of(const Dims& shape, DType dtype) {
  for (int64_t extent : shape)
    FC_CHECK(extent >= 0, "empty: negative extent, got shape ", to_string(shape), ", expected 0 or more");
  const int64_t count = numel(shape);
  FC_CHECK(count <= INT64_MAX / int64_t(size_of(dtype)), "empty: shape ", to_string(shape), " of ",
           name_of(dtype), " has more than 2^63 bytes");
  return size_t(count) * size_of(dtype);
}

Tensor on(std::shared_ptr<Storage> storage, const Dims& shape, const Dims& strides, DType dtype) {
  Tensor t;
  t.shape = shape;
  t.strides = strides;
  t.dtype = dtype;
  t.storage = std::move(storage);
  return t;
}

}  // namespace

Tensor empty_strided(const Dims& shape, const Dims& strides, DType dtype, Device device, Category category) {
  return on(new_storage(device, bytes_of(shape, dtype), category), shape, strides, dtype);
}
Tensor empty_pinned(const Dims& shape, const Dims& strides, DType dtype) {
  OpScope scope("pin_memory");
  return on(new_pinned_storage(bytes_of(shape, dtype)), shape, strides, dtype);
}
Tensor empty(const Dims& shape, DType dtype, Device device, Category category) {
  return empty_strided(shape, contiguous_strides(shape), dtype, device, category);
}
Tensor empty_channels_last(const Dims& shape, DType dtype, Device device, Category category) {
  return empty_strided(shape, channels_last_strides(shape), dtype, device, category);
}
Tensor empty_like(const Tensor& t) { return empty_like(t, t.dtype); }
Tensor empty_like(const Tensor& t, DType dtype) {
  return empty_strided(t.shape, strides_like(t), dtype, t.device());
}

void no_cuda_kernel(const char* op) {
  fail<DeviceError>(op, ": this build has no CUDA kernel for it; use device=\"cpu\"");
}

void check_same_device(const char* op, std::initializer_list<const Tensor*> tensors) {
  const Device first = (*tensors.begin())->device();
  for (const Tensor* t : tensors)
    FC_CHECK(t->device() == first, op, ": tensors on different devices, got ", to_string(first), " and ",
             to_string(t->device()), ", expected one; move one with .to(\"", to_string(first), "\")");
}
void check_same_dtype(const char* op, std::initializer_list<const Tensor*> tensors) {
  const DType first = (*tensors.begin())->dtype;
  for (const Tensor* t : tensors)
    FC_CHECK_TYPE(t->dtype == first, op, ": dtypes differ, got ", name_of(first), " and ", name_of(t->dtype),
                  ", expected equal ones (there is no silent promotion); convert with .to(\"", name_of(first),
                  "\")");
}
void check_float(const char* op, const Tensor& t) {
  dispatch_float(t.dtype, op, [](auto) {});
}

namespace {

/// Bytes from `low` to below `high` that a view may touch; empty for a view without elements.
struct Span {
  uintptr_t low, high;
};
Span span_of(const Tensor& t) {
  const int64_t size = int64_t(size_of(t.dtype));
  int64_t below = 0, above = size;
  for (int i = 0; i < t.ndim(); ++i) {
    if (t.shape[i] == 0) return {0, 0};
    (t.strides[i] < 0 ? below : above) += t.strides[i] * (t.shape[i] - 1) * size;
  }
  const auto at = reinterpret_cast<uintptr_t>(t.raw());
  return {at + uintptr_t(below), at + uintptr_t(above)};
}

/// No two elements share memory, seen from the strides alone: each is longer than all shorter axes together. Every
/// slice and permutation of a dense tensor is so; the rare other strides that do not overlap are taken for such.
bool elements_are_apart(const Tensor& t) {
  Dims step, count;
  for (int i = 0; i < t.ndim(); ++i) {
    if (t.shape[i] == 0) return true;
    if (t.shape[i] == 1) continue;
    int at = step.n;
    step.push_back(0);
    count.push_back(0);
    const int64_t stride = std::abs(t.strides[i]);
    for (; at > 0 && step[at - 1] > stride; --at) step[at] = step[at - 1], count[at] = count[at - 1];
    step[at] = stride;
    count[at] = t.shape[i];
  }
  int64_t reach = 0;
  for (int i = 0; i < step.n; ++i) {
    if (step[i] <= reach) return false;
    reach += step[i] * (count[i] - 1);
  }
  return true;
}

}  // namespace

void check_writable(const char* op, const Tensor& t) {
  FC_CHECK(!t.storage->readonly, op, ": the tensor borrows read-only memory; .clone() it first");
  FC_CHECK(elements_are_apart(t), op,
           ": in-place on an expanded tensor (several elements share memory), shape ", to_string(t.shape),
           " and strides ", to_string(t.strides), "; .clone() it first");
}

Tensor unaliased(const Tensor& target, const Tensor& operand, bool elementwise) {
  const Span a = span_of(target), b = span_of(operand);
  if (target.device() != operand.device() || a.high <= b.low || b.high <= a.low) return operand;
  bool same = elementwise && target.raw() == operand.raw() && target.dtype == operand.dtype &&
              target.shape == operand.shape;
  for (int i = 0; same && i < target.ndim(); ++i)
    same = target.shape[i] == 1 || target.strides[i] == operand.strides[i];
  return same ? operand : to(operand, operand.dtype, operand.device(), true, Category::temporary);
}

}  // namespace fastcnn::ops
