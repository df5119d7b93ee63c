// What an activation keeps of its output for the backward pass.
#pragma once

#include <condition_variable>
#include <mutex>
#include <optional>

#include "memory/saved_tensor.h"
#include "ops/elementwise.h"

namespace fastcnn::ops {

/// The gradient of relu, relu6, hardtanh and leaky_relu asks one bit of each output. While somebody else keeps the
/// output - a layer that saved its input, the caller - it is read there and nothing is kept. When the last of them
/// lets go in the forward pass, the bits are made, 1/32 of float32. When the last one was a saved tensor, backward
/// is about to ask (or the graph dies): then the output itself is taken over, without a pass over memory. So no
/// layer needs to know its neighbours.
///
/// Kept from the start instead: outputs in borrowed memory or with gaps, and one that has an heir.
class ActivationMask final : public Heir {
 public:
  /// op: relu_backward, relu6_backward, hardtanh_backward or leaky_relu_backward (p0 >= 0); else a ValueError.
  static std::shared_ptr<ActivationMask> make(Binary op, const Tensor& y, double p0, double p1);

  /// The output, if somebody keeps it.
  std::optional<Tensor> output();
  /// dx for dy of y's shape, in y's memory order if there are bits only. over_dy: the caller is done with dy, and dx
  /// takes its memory if it lies in that order. ValueError if y was changed in place.
  Tensor backward(const Tensor& dy, bool over_dy = false);

  void inherit(AllocatedStorage& dying) noexcept override;

 private:
  bool pack(const AllocatedStorage& dying);
  std::string function() const;

  Binary op_ = Binary::relu_backward;
  double p0_ = 0, p1_ = 0;
  Tensor view_;  ///< y without its storage
  std::weak_ptr<Storage> storage_;
  uint32_t version_ = 0, layer_ = 0;

  std::mutex mutex_;
  std::condition_variable inherited_;
  std::optional<uint32_t> last_version_;  ///< of the storage that died
  std::optional<SavedTensor> kept_;
  std::optional<Tensor> bits_;
};

}  // namespace fastcnn::ops
