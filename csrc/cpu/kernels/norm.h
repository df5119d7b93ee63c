// Inner loops of batch, group and instance normalisation over channels-last rows.
#pragma once

#include <stdint.h>

namespace fastcnn::cpu {

/// Channels at a time: rows up to so wide are walked in the order of memory, which is what prefetchers follow.
constexpr int kNormTile = 512;
constexpr int kNormRows = 32;  ///< rows summed in the element type before float64 takes over

/// One number per channel each, in the accumulator type; what a kernel does not mention may be nullptr.
struct NormVectors {
  const void *mean, *invstd;  ///< of the statistics
  const void *scale, *shift;  ///< weight * invstd, bias: normalised = (x - mean) * scale + shift
  const void *q, *offset;     ///< dx = masked dy * scale + (x - mean) * q + offset
  bool stream;                ///< what apply and apply_gradient write passes the caches (cpu/stream.h)
  int64_t ahead;  ///< what lies so many elements further is fetched from memory by what reads; 0: nothing is
};

/// The arrays are indexed by NormActivation (common/norm.h): what is applied to the normalised value in the same pass.
struct NormKernels {
  /// mean[c], m2[c] (sum of squared deviations) of `rows` rows of `channels` <= kNormTile columns, `step` apart.
  void (*moments)(const void* x, int64_t rows, int channels, int64_t step, int64_t ahead, double* mean,
                  double* m2);
  /// s1[c] = sum g, s2[c] = sum g * (x - mean) * invstd, g = dy where the activation was open. Where that was is read
  /// from y, and g stored to `masked`, if y is given; else it is computed again from x.
  void (*gradient_sums[3])(const void* x, const void* dy, const void* y, void* masked, int64_t rows,
                           int channels, int64_t step, const NormVectors& v, double* s1, double* s2);
  /// y = activation(normalised + residual); residual may be nullptr.
  void (*apply[3])(void* y, const void* x, const void* residual, int64_t rows, int channels, int64_t step,
                   const NormVectors& v);
  /// dx = g * scale + (x - mean) * q + offset, g as above, computed again from x.
  void (*apply_gradient[3])(void* dx, const void* x, const void* dy, int64_t rows, int channels, int64_t step,
                            const NormVectors& v);
};

}  // namespace fastcnn::cpu
