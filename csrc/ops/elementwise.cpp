#include "ops/elementwise.h"

#include <algorithm>

#include "cpu/elementwise.h"
#include "cuda/elementwise.h"
#include "ops/transfer.h"

namespace fastcnn::ops {

namespace {

bool returns_bool(Unary op) {
  return op == Unary::isfinite || op == Unary::isnan || op == Unary::isinf || op == Unary::logical_not;
}
bool returns_bool(Binary op) { return op >= Binary::eq && op <= Binary::logical_xor; }

void run(const Context& ctx, Unary op, const Tensor& y, const Tensor& x, double p0, double p1) {
  if (y.numel() == 0) return;
  launch(ctx, name_of(op), UnaryParams{op, p0, p1, make_loop({&y, &x})}, cpu::unary, FC_CUDA(unary));
}
void run(const Context& ctx, Binary op, const Tensor& y, const Tensor& a, const Tensor& b, double p0,
         double p1) {
  if (y.numel() == 0) return;
  launch(ctx, name_of(op), BinaryParams{op, p0, p1, make_loop({&y, &a, &b})}, cpu::binary, FC_CUDA(binary));
}

// The result keeps the memory order of the first operand that has the whole shape.
Tensor empty_for(const Dims& shape, const Tensor& a, const Tensor& b, DType dtype) {
  if (a.shape == shape && a.is_dense()) return empty_like(a, dtype);
  if (b.shape == shape && b.is_dense()) return empty_like(b, dtype);
  return empty(shape, dtype, a.device());
}

}  // namespace

Tensor unary(Unary op, const Tensor& x, double p0, double p1) {
  OpScope scope(name_of(op));
  check_dtype(op, x.dtype);
  Tensor y = empty_like(x, returns_bool(op) ? DType::boolean : x.dtype);
  run(context_of(x), op, y, x, p0, p1);
  return y;
}

void unary_(Unary op, const Tensor& x, double p0, double p1) {
  OpScope scope(name_of(op));
  check_dtype(op, x.dtype);
  FC_CHECK_TYPE(!returns_bool(op), name_of(op), ": has no in-place form (its result is bool)");
  check_writable(name_of(op), x);
  run(context_of(x), op, x, x, p0, p1);
  changed(x);
}

Tensor binary(Binary op, const Tensor& a, const Tensor& b, double p0, double p1) {
  const char* name = name_of(op);
  OpScope scope(name);
  check_same_device(name, {&a, &b});
  check_same_dtype(name, {&a, &b});
  check_dtype(op, a.dtype);
  const Dims shape = broadcast_shapes(a.shape, b.shape, name);
  Tensor y = empty_for(shape, a, b, returns_bool(op) ? DType::boolean : a.dtype);
  run(context_of(a), op, y, a.expand(shape), b.expand(shape), p0, p1);
  return y;
}

void binary_(Binary op, const Tensor& a, const Tensor& b, double p0, double p1) {
  const char* name = name_of(op);
  OpScope scope(name);
  check_same_device(name, {&a, &b});
  check_same_dtype(name, {&a, &b});
  check_dtype(op, a.dtype);
  FC_CHECK_TYPE(!returns_bool(op), name, ": has no in-place form (its result is bool)");
  check_writable(name, a);
  const Dims shape = broadcast_shapes(a.shape, b.shape, name);
  FC_CHECK(shape == a.shape, name, ": in-place result has shape ", to_string(shape),
           ", expected the target's ", to_string(a.shape));
  run(context_of(a), op, a, a, unaliased(a, b, true).expand(a.shape), p0, p1);
  changed(a);
}

Tensor binary_scalar(Binary op, const Tensor& x, double scalar, bool reversed, double p0, double p1) {
  const char* name = name_of(op);
  OpScope scope(name);
  check_dtype(op, x.dtype);
  Tensor y = empty_like(x, returns_bool(op) ? DType::boolean : x.dtype);
  if (x.numel() == 0) return y;
  BinaryParams params{op, p0, p1, make_loop({&y, &x, &x})};
  // The scalar is an operand of stride 0 that lives in the params.
  const int at = reversed ? 1 : 2;
  dispatch_all(x.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    const T typed = static_cast<T>(static_cast<std::conditional_t<sizeof(T) == 2, float, T>>(scalar));
    std::memcpy(params.scalar, &typed, sizeof(T));
  });
  params.scalar_operand = at;
  std::fill(params.loop.strides[at], params.loop.strides[at] + kMaxDims, 0);
  launch(context_of(x), name, params, cpu::binary, FC_CUDA(binary));
  return y;
}

Tensor where(const Tensor& condition, const Tensor& a, const Tensor& b) {
  OpScope scope("where");
  check_same_device("where", {&condition, &a, &b});
  check_same_dtype("where", {&a, &b});
  FC_CHECK_TYPE(condition.dtype == DType::boolean, "where: condition is ", name_of(condition.dtype),
                ", expected bool; compare first, e.g. x != 0");
  const Dims shape = broadcast_shapes(broadcast_shapes(condition.shape, a.shape, "where"), b.shape, "where");
  Tensor y = empty_for(shape, a, b, a.dtype);
  if (y.numel() == 0) return y;
  const Tensor c = condition.expand(shape), x = a.expand(shape), z = b.expand(shape);
  launch(context_of(a), "where", WhereParams{make_loop({&y, &c, &x, &z})}, cpu::where, FC_CUDA(where));
  return y;
}

// ---- copies ---------------------------------------------------------------------------------------------

void copy_(const Tensor& dst, const Tensor& src, bool non_blocking) {
  OpScope scope("copy");
  check_writable("copy_", dst);
  const Tensor from = unaliased(dst, src, true).expand(dst.shape);
  const Device to = dst.device();
  if (to == src.device()) {
    run(context_of(dst), Unary::copy, dst, from, 0, 0);
  } else if (!to.is_meta() || device_props(to).backend == DeviceType::cuda) {
    FC_CHECK(to.is_meta() || !src.device().is_meta(), "copy_: a meta tensor has no data to copy to ",
             to_string(to));
    copy_across(dst, from, non_blocking);
  }  // else a twin of the CPU, which takes any data: there is nothing to move
  changed(dst);
}

Tensor to(const Tensor& x, DType dtype, Device device, bool keep_order, Category category,
          bool non_blocking) {
  OpScope scope("to");
  const Dims strides = keep_order ? strides_like(x) : contiguous_strides(x.shape);
  const bool pinned = non_blocking && device == Device{} && x.device().type == DeviceType::cuda;
  Tensor y = pinned ? empty_pinned(x.shape, strides, dtype)
                    : empty_strided(x.shape, strides, dtype, device, category);
  copy_(y, x, non_blocking);
  y.storage->version = 0;
  return y;
}

Tensor contiguous(const Tensor& x, bool channels_last) {
  if (channels_last ? x.is_channels_last() : x.is_contiguous()) return x;
  OpScope scope(channels_last ? "to_channels_last" : "to_contiguous");
  const Dims strides = channels_last ? channels_last_strides(x.shape) : contiguous_strides(x.shape);
  Tensor y = empty_strided(x.shape, strides, x.dtype, x.device(), Category::layout);
  run(context_of(x), Unary::copy, y, x, 0, 0);
  return y;
}

void fill_(const Tensor& x, double value) { unary_(Unary::fill, x, value, 0); }

}  // namespace fastcnn::ops
