#include "cpu/norm_fold.h"

#include <cmath>

namespace fastcnn::cpu {

void norm_fold(const NormFoldParams& p) {
  dispatch_float(p.dtype, "batch_norm", [&](auto type) {
    using T = typename decltype(type)::type;
    const auto at = [](const NormFoldParams::Vector& v, int64_t k, double missing) {
      return v.data ? double(Accumulator<T>(static_cast<const T*>(v.data)[k * v.stride])) : missing;
    };
    T *scale = static_cast<T*>(p.scale), *shift = static_cast<T*>(p.shift);
    for (int64_t k = 0; k < p.channels; ++k) {
      const double s = at(p.weight, k, 1) / std::sqrt(at(p.var, k, 0) + p.eps);
      scale[k] = T(Accumulator<T>(s));
      shift[k] = T(Accumulator<T>(at(p.bias, k, 0) + (at(p.before, k, 0) - at(p.mean, k, 0)) * s));
    }
  });
}

}  // namespace fastcnn::cpu
