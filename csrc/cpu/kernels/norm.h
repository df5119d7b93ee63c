// Inner loops of batch, group and instance normalisation over channels-last rows.
#pragma once

#include <stdint.h>

namespace fastcnn::cpu {

constexpr int kNormTile = 64;  ///< channels at a time: four 512-bit registers of accumulators
constexpr int kNormRows =
    32;  ///< rows summed in the element type before float64 takes over: 8 KiB of float32

struct NormKernels {
  /// mean[c], m2[c] (sum of squared deviations) of `rows` rows of `channels` <= kNormTile columns, `step` apart.
  void (*moments)(const void* x, int64_t rows, int channels, int64_t step, double* mean, double* m2);
  /// s1[c] = sum dy, s2[c] = sum dy * (x - mean[c]) * invstd[c]; mean, invstd in the accumulator type.
  void (*gradient_sums)(const void* x, const void* dy, int64_t rows, int channels, int64_t step,
                        const void* mean, const void* invstd, double* s1, double* s2);
  /// y = (x - mean[c]) * scale[c] + shift[c]
  void (*apply)(void* y, const void* x, int64_t rows, int channels, int64_t step, const void* mean,
                const void* scale, const void* shift);
  /// dx = dy * p[c] + (x - mean[c]) * q[c] + r[c]
  void (*apply_gradient)(void* dx, const void* x, const void* dy, int64_t rows, int channels, int64_t step,
                         const void* mean, const void* p, const void* q, const void* r);
};

}  // namespace fastcnn::cpu
