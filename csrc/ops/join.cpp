#include "ops/join.h"

#include "cpu/elementwise.h"
#include "cuda/elementwise.h"
#include "ops/elementwise.h"

namespace fastcnn::ops {

Tensor cat(const char* op, const std::vector<Tensor>& parts, int64_t axis) {
  const OpScope scope(op);
  FC_CHECK(!parts.empty(), op, ": got no tensors, expected at least one");
  const Tensor& first = parts[0];
  FC_CHECK(first.ndim() > 0, op, ": got a tensor without axes; use stack");
  const int at = normalize_axis(axis, first.ndim(), op);
  Dims shape = first.shape;
  shape[at] = 0;
  bool channels_last = true, contiguous = true;
  for (const Tensor& t : parts) {
    check_same_device(op, {&first, &t});
    check_same_dtype(op, {&first, &t});
    bool equal = t.ndim() == first.ndim();
    for (int i = 0; equal && i < t.ndim(); ++i) equal = i == at || t.shape[i] == first.shape[i];
    FC_CHECK(equal, op, ": shapes differ, got ", to_string(first.shape), " and ", to_string(t.shape),
             ", expected equal extents on every axis but ", at);
    shape[at] += t.shape[at];
    channels_last = channels_last && t.is_channels_last();
    contiguous = contiguous && t.is_contiguous();
  }
  const Tensor y = channels_last && !contiguous ? empty_channels_last(shape, first.dtype, first.device())
                                                : empty(shape, first.dtype, first.device());
  int64_t start = 0;
  for (const Tensor& t : parts) {
    const Tensor slot = y.slice(at, start, t.shape[at], 1);
    start += t.shape[at];
    if (t.numel() > 0)
      launch(context_of(first), op, UnaryParams{Unary::copy, 0, 0, make_loop({&slot, &t})}, cpu::unary,
             FC_CUDA(unary));
  }
  return y;
}

}  // namespace fastcnn::ops
