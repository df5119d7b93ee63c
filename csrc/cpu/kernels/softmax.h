// Rows of softmax, log-softmax and cross entropy. Elements of a row are `step` apart.
#pragma once

#include <stdint.h>

namespace fastcnn::cpu {

constexpr int kSoftmaxColumns = 64;  ///< rows side by side: some lines of memory per class

struct SoftmaxKernels {
  /// The largest element that is no NaN; -inf for an empty row.
  double (*max)(const void* x, int64_t n, int64_t step);
  /// Sum of exp(x - high), in float64 from runs of kSoftmaxRun elements.
  double (*exp_sum)(const void* x, int64_t n, int64_t step, double high);
  /// y = softmax(x); with `log` its logarithm.
  void (*forward)(void* y, const void* x, int64_t n, int64_t y_step, int64_t x_step, bool log);
  /// dx from the result y and its gradient.
  void (*backward)(void* dx, const void* y, const void* dy, int64_t n, int64_t dx_step, int64_t y_step,
                   int64_t dy_step, bool log);
  /// dx = scale * exp(x - lse) - shift
  void (*exp_scaled)(void* dx, const void* x, int64_t n, int64_t dx_step, int64_t x_step, double lse,
                     double scale, double shift);
  /// `forward` of `width` <= kSoftmaxColumns rows side by side: their elements of one class follow each other. float32.
  void (*forward_columns)(float* y, const float* x, int64_t n, int64_t width, int64_t y_step, int64_t x_step,
                          bool log);
  void (*backward_columns)(float* dx, const float* y, const float* dy, int64_t n, int64_t width,
                           int64_t dx_step, int64_t y_step, int64_t dy_step, bool log);
};

}  // namespace fastcnn::cpu
