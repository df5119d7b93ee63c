// Pointwise ops with broadcasting. New rows go into common/pointwise_ops.h, common/pointwise_formulas.inl and the devices' tables.
#pragma once

#include "common/elementwise.h"
#include "ops/context.h"

namespace fastcnn::ops {

/// y = op(x; p0, p1) in x's memory order. Predicates (isnan, logical_not) return bool.
Tensor unary(Unary op, const Tensor& x, double p0 = 0, double p1 = 0);
/// x = op(x; p0, p1); bumps x's version.
void unary_(Unary op, const Tensor& x, double p0 = 0, double p1 = 0);
/// y = op(a, b; p0, p1), broadcast; comparisons return bool.
Tensor binary(Binary op, const Tensor& a, const Tensor& b, double p0 = 0, double p1 = 0);
/// a = op(a, b; p0, p1) with b broadcast to a; bumps a's version.
void binary_(Binary op, const Tensor& a, const Tensor& b, double p0 = 0, double p1 = 0);
/// The scalar stands for operand b (or a, if reversed) and takes the tensor's dtype.
Tensor binary_scalar(Binary op, const Tensor& x, double scalar, bool reversed, double p0 = 0, double p1 = 0);
Tensor where(const Tensor& condition, const Tensor& a, const Tensor& b);

/// dst = src with conversion of dtype and memory order; src is broadcast to dst. `non_blocking`: copy_across.
void copy_(const Tensor& dst, const Tensor& src, bool non_blocking = false);
/// A copy with the given dtype and device; memory order kept when `keep_order`, else contiguous. From a card to the CPU
/// `non_blocking` makes it in page-locked memory.
Tensor to(const Tensor& x, DType dtype, Device device, bool keep_order,
          Category category = Category::temporary, bool non_blocking = false);
/// x itself if it already has that memory order, else a copy tagged `layout`.
Tensor contiguous(const Tensor& x, bool channels_last);
void fill_(const Tensor& x, double value);

}  // namespace fastcnn::ops
