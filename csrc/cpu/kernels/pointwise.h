// Inner loops of the pointwise ops, one table per instruction set (float32) plus a generic one (other dtypes).
#pragma once

#include "common/pointwise_ops.h"

namespace fastcnn::cpu {

/// y[i * sy] = op(x[i * sx]; p0, p1) for i in [0, n). y may be x itself.
using UnaryFn = void (*)(void* y, const void* x, int64_t n, int64_t sy, int64_t sx, double p0, double p1);
/// y[i * sy] = op(a[i * sa], b[i * sb]; p0, p1). y may be a or b itself.
using BinaryFn = void (*)(void* y, const void* a, const void* b, int64_t n, int64_t sy, int64_t sa,
                          int64_t sb, double p0, double p1);

/// Writes one bit per element of y: whether the slope at that output is 1; n counts elements.
using PackMaskFn = void (*)(uint8_t* bits, const void* y, int64_t n, double p0, double p1);
/// y[i] = bit first + i ? a[i * sa] : the value for slopes other than 1.
using ApplyMaskFn = void (*)(void* y, const void* a, const uint8_t* bits, int64_t first, int64_t n,
                             int64_t sa, double p0);

struct PointwiseKernels {
  UnaryFn (*unary)(Unary);  ///< never nullptr for float32
  BinaryFn (*binary)(Binary);
  PackMaskFn (*pack_mask)(Binary);  ///< of the gradients of relu, relu6, hardtanh, leaky_relu
  ApplyMaskFn (*apply_mask)(Binary);
  void (*stream)(float* y, const float* x, int64_t n);  ///< a copy past the caches (cpu/stream.h)
  void (*stream_done)();                                ///< after the last one of a task
};

}  // namespace fastcnn::cpu
