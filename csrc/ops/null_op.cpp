#include "ops/null_op.h"

#include "cpu/null_op.h"
#include "cuda/null_op.h"
#include "ops/elementwise.h"

namespace fastcnn::ops {

Tensor null_op(const Tensor& x, double scale) {
  const OpScope scope("null_op");                                // names the allocations below
  check_float("null_op", x);                                     // 1. check
  const Tensor dense = x.is_dense() ? x : contiguous(x, false);  //    (a copy only for an op that needs it)
  const Tensor y = empty_like(dense);  // 2. allocate everything before the first kernel
  if (y.numel() > 0)                   // 3. launch; nothing happens on a meta device
    launch(context_of(x), "null_op", NullOpParams{dense.raw(), y.raw(), y.numel(), scale, y.dtype},
           cpu::null_op, FC_CUDA(null_op));
  return y;
}

}  // namespace fastcnn::ops
