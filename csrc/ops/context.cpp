#include "ops/context.h"

namespace fastcnn::ops {

Tensor empty_strided(const Dims& shape, const Dims& strides, DType dtype, Device device, Category category) {
  for (int64_t extent : shape) FC_CHECK(extent >= 0, "empty: negative extent in shape ", to_string(shape));
  const int64_t count = numel(shape);
  FC_CHECK(count <= INT64_MAX / int64_t(size_of(dtype)), "empty: shape ", to_string(shape), " of ",
           name_of(dtype), " has more than 2^63 bytes");
  Tensor t;
  t.shape = shape;
  t.strides = strides;
  t.dtype = dtype;
  t.storage = new_storage(device, size_t(count) * size_of(dtype), category);
  return t;
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
void check_writable(const char* op, const Tensor& t) {
  FC_CHECK(!t.storage->readonly, op, ": the tensor borrows read-only memory; .clone() it first");
  for (int i = 0; i < t.ndim(); ++i)
    FC_CHECK(t.shape[i] <= 1 || t.strides[i] != 0, op,
             ": in-place on an expanded tensor (several elements share memory), shape ", to_string(t.shape),
             "; .clone() it first");
}

}  // namespace fastcnn::ops
