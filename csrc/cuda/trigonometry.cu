// Sine and cosine. They have a file of their own because they are the one case of local memory that is meant to be: the
// toolkit reduces arguments above 105615 by many digits of 2 / pi, which it indexes. Smaller ones never go there.
#include "cuda/pointwise.cuh"
#include "cuda/trigonometry.h"

namespace fastcnn::cuda {

void trigonometry(const UnaryParams& params, void* stream_) {
  const auto stream = static_cast<cudaStream_t>(stream_);
  const char* name = name_of(params.op);
  dispatch_device_float(params.loop.dtype[1], name, [&](auto type) {
    using T = typename decltype(type)::type;
    if (params.op == Unary::sin) {
      map<T, T>(name, Fixed<Sin, T>{0, 0}, params.loop, stream);
    } else {
      map<T, T>(name, Fixed<Cos, T>{0, 0}, params.loop, stream);
    }
  });
}

}  // namespace fastcnn::cuda
