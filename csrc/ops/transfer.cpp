#include "ops/transfer.h"

#include "cuda/runtime.h"
#include "ops/elementwise.h"

namespace fastcnn::ops {

namespace {

constexpr Device kHost{};

bool same_layout(const Tensor& a, const Tensor& b) {
  if (a.dtype != b.dtype) return false;
  for (int i = 0; i < a.ndim(); ++i)
    if (a.shape[i] != 1 && a.strides[i] != b.strides[i]) return false;
  return true;
}

// Dense tensors of one layout and dtype.
void copy_bytes([[maybe_unused]] const Tensor& dst, [[maybe_unused]] const Tensor& src) {
#if defined(FC_WITH_CUDA)
  const size_t bytes = size_t(dst.numel()) * size_of(dst.dtype);
  const Device to = dst.device(), from = src.device();
  if (to.type == DeviceType::cuda && from.type == DeviceType::cuda)
    return cuda::copy_between_devices(dst.raw(), to.index, src.raw(), from.index, bytes);
  if (to.type == DeviceType::cuda) {
    use_device(to);
    return cuda::copy_to_device(dst.raw(), src.raw(), bytes, context_of(to).stream);
  }
  use_device(from);
  cuda::copy_to_host(dst.raw(), src.raw(), bytes, context_of(from).stream);
#endif
}

}  // namespace

void copy_across(const Tensor& dst, const Tensor& src) {
  if (dst.numel() == 0) return;
  // 1. Where the bytes land: dst itself, or a dense tensor beside it.
  const Tensor landing = dst.is_dense() ? dst : empty_like(dst);
  // 2. Bytes to send. The host brings them into order and dtype; a card sends what is dense as it lies.
  Tensor sent = src;
  if (src.device() == kHost && !same_layout(src, landing)) {
    sent = empty_strided(landing.shape, landing.strides, landing.dtype, kHost);
    copy_(sent, src);
  } else if (src.device() != kHost && !src.is_dense()) {
    sent = empty_like(src);
    copy_(sent, src);
  }
  // 3. The way across, then the receiver's order and dtype.
  if (same_layout(sent, landing)) {
    if (!landing.device().is_meta()) copy_bytes(landing, sent);
  } else {
    const Tensor received = empty_strided(sent.shape, sent.strides, sent.dtype, landing.device());
    if (!landing.device().is_meta()) copy_bytes(received, sent);
    copy_(landing, received);
  }
  if (landing.storage != dst.storage) copy_(dst, landing);
}

int64_t read_back(const int64_t* p, [[maybe_unused]] Device device) {
#if defined(FC_WITH_CUDA)
  if (device.type == DeviceType::cuda) {
    int64_t value = 0;
    use_device(device);
    cuda::copy_to_host(&value, p, sizeof(value), context_of(device).stream);
    return value;
  }
#endif
  return *p;
}

}  // namespace fastcnn::ops
