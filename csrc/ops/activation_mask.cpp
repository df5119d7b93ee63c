#include "ops/activation_mask.h"

#include "cpu/elementwise.h"
#include "cpu/thread_pool.h"
#include "cuda/elementwise.h"
#include "memory/kept.h"
#include "ops/streams.h"

namespace fastcnn::ops {

std::shared_ptr<ActivationMask> ActivationMask::make(Binary op, const Tensor& y, double p0, double p1) {
  FC_CHECK(op == Binary::relu_backward || op == Binary::relu6_backward || op == Binary::hardtanh_backward ||
               (op == Binary::leaky_relu_backward && p0 >= 0),
           "activation_mask: got ", name_of(op), " with parameter ", p0,
           ", expected relu_backward, relu6_backward, hardtanh_backward or leaky_relu_backward from 0");
  check_float("activation_mask", y);
  auto mask = std::make_shared<ActivationMask>();
  mask->op_ = op, mask->p0_ = p0, mask->p1_ = p1;
  mask->layer_ = current_layer();
  auto* storage = dynamic_cast<AllocatedStorage*>(y.storage.get());
  if (!storage || !storage->heir.expired() || !y.is_dense()) {
    mask->kept_.emplace(y);
    return mask;
  }
  mask->version_ = storage->version;
  mask->storage_ = y.storage;
  mask->view_ = y.detach();
  mask->view_.storage.reset();
  storage->heir = mask;
  return mask;
}

std::string ActivationMask::function() const {
  const std::string name = name_of(op_);
  return name.substr(0, name.find("_backward"));
}

std::optional<Tensor> ActivationMask::output() {
  std::unique_lock<std::mutex> lock(mutex_);
  uint32_t version = 0;
  if (kept_) return kept_->unpack(function());
  if (std::shared_ptr<Storage> alive = storage_.lock()) {
    version = alive->version;
    if (version == version_) {
      Tensor y = view_;
      y.storage = std::move(alive);
      return y;
    }
  } else {
    inherited_.wait(lock, [&] { return kept_ || last_version_; });  // another thread may be at it
    if (kept_) return kept_->unpack(function());
    version = *last_version_;
  }
  FC_CHECK(version == version_, "backward of ", function(), ": a saved tensor of shape ",
           to_string(view_.shape), " was changed in place, got version ", version, ", expected ", version_,
           "; change a .clone() instead");
  return std::nullopt;
}

Tensor ActivationMask::backward(const Tensor& dy, bool over_dy) {
  if (const std::optional<Tensor> y = output()) {
    if (!over_dy) return binary(op_, dy, *y, p0_, p1_);
    binary_(op_, dy, *y, p0_, p1_);
    return dy.detach();
  }
  const OpScope scope(name_of(op_));
  check_same_device(name_of(op_), {&dy, &*bits_});
  FC_CHECK(dy.shape == view_.shape && dy.dtype == view_.dtype, name_of(op_), ": grad_output is ",
           name_of(dy.dtype), " ", to_string(dy.shape), ", expected ", name_of(view_.dtype), " ",
           to_string(view_.shape));
  over_dy = over_dy && dy.strides == view_.strides;
  if (over_dy) changed(dy);
  const Tensor dx =
      over_dy ? dy.detach() : empty_strided(view_.shape, view_.strides, view_.dtype, dy.device());
  if (dx.numel() > 0)
    launch(context_of(dx), name_of(op_),
           ApplyMaskParams{op_, p0_, make_loop({&dx, &dy}), bits_->data<uint8_t>()}, cpu::apply_mask,
           FC_CUDA(apply_mask));
  return dx;
}

void ActivationMask::inherit(AllocatedStorage& dying) noexcept {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    last_version_ = dying.version;
    // In-place changes make the contents worthless; otherwise the bits, or for want of memory all.
    if (*last_version_ == version_ && (saved_tensor_lets_go || !pack(dying))) {
      auto taken = std::make_shared<AllocatedStorage>();
      taken->device = dying.device;
      taken->bytes = dying.bytes;
      taken->data = dying.data;
      taken->version = version_;
      taken->block = std::exchange(dying.block, Block{});
      taken->streams = dying.streams.load();
      Tensor y = view_;
      y.storage = std::move(taken);
      kept_.emplace(y);
    }
  }
  inherited_.notify_all();
}

bool ActivationMask::pack(const AllocatedStorage& dying) {
  const OpScope scope("activation_mask");
  const uint32_t outer = set_layer(layer_);
  bool done = false;
  try {
    const int64_t count = view_.numel();
    Tensor bits = empty({(count + 7) / 8}, DType::uint8, dying.device, Category::saved);
    if (count > 0) {
      const cpu::Uninterrupted whole;  // a destructor cannot pass Ctrl-C on
      const char* y = static_cast<const char*>(dying.data) + view_.offset * int64_t(size_of(view_.dtype));
      const StreamsMeet meet(dying);  // whoever lets go of y may be on another stream than those that made it
      launch(context_of(dying.device), "activation_mask",
             PackMaskParams{op_, p0_, p1_, view_.dtype, y, count, bits.data<uint8_t>()}, cpu::pack_mask,
             FC_CUDA(pack_mask));
    }
    bits_ = std::move(bits);
    done = true;
  } catch (const OutOfMemoryError&) {
  } catch (const DeviceError&) {  // of an earlier kernel: the next call that may throw reports it
  }
  set_layer(outer);
  return done;
}

}  // namespace fastcnn::ops
