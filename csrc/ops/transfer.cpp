#include "ops/transfer.h"

#include "cuda/runtime.h"
#include "cuda/streams.h"
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
void copy_bytes([[maybe_unused]] const Tensor& dst, [[maybe_unused]] const Tensor& src,
                [[maybe_unused]] bool non_blocking) {
#if defined(FC_WITH_CUDA)
  const size_t bytes = size_t(dst.numel()) * size_of(dst.dtype);
  const Device to = dst.device(), from = src.device();
  if (to.type == DeviceType::cuda && from.type == DeviceType::cuda)
    return cuda::copy_between_devices(dst.raw(), to.index, src.raw(), from.index, bytes);
  const bool there = to.type == DeviceType::cuda;
  const Device card = there ? to : from;
  use_device(card);
  const bool goes_on = (there ? cuda::copy_to_device : cuda::copy_to_host)(
      dst.raw(), src.raw(), bytes, context_of(card).stream, !non_blocking);
  if (goes_on) cuda::drop_after(card.index, cuda::current_set(card.index), there ? src.storage : dst.storage);
#endif
}

}  // namespace

void copy_across(const Tensor& dst, const Tensor& src, bool non_blocking) {
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
    if (!landing.device().is_meta()) copy_bytes(landing, sent, non_blocking);
  } else {
    const Tensor received = empty_strided(sent.shape, sent.strides, sent.dtype, landing.device());
    if (!landing.device().is_meta()) copy_bytes(received, sent, non_blocking);
    copy_(landing, received);
  }
  if (landing.storage != dst.storage) copy_(dst, landing);
}

Tensor pin_memory(const Tensor& x) {
  FC_CHECK(x.device() == kHost, "pin_memory: got a tensor on ", to_string(x.device()),
           ", expected cpu; cards copy from and to the host's memory");
  Tensor y = empty_pinned(x.shape, strides_like(x), x.dtype);
  copy_(y, x);
  y.storage->version = 0;
  return y;
}

bool is_pinned([[maybe_unused]] const Tensor& x) {
#if defined(FC_WITH_CUDA)
  return x.device() == kHost && x.numel() && cuda_device_count() && cuda::is_page_locked(x.raw());
#else
  return false;
#endif
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
