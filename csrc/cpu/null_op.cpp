// The CPU half of the template op. Work is cut into tasks by the problem alone (never by the number of threads),
// so the bits do not depend on how many run. A float32 loop that matters for speed goes into kernels/ instead,
// where it is compiled once per instruction set (kernels/all.inl says how).
#include "cpu/null_op.h"

#include <algorithm>

#include "cpu/thread_pool.h"

namespace fastcnn::cpu {

void null_op(const NullOpParams& params) {
  constexpr int64_t kTaskElems = 32768;
  dispatch_float(params.dtype, "null_op", [&](auto type) {
    using T = typename decltype(type)::type;
    const T* x = static_cast<const T*>(params.x);
    T* y = static_cast<T*>(params.y);
    const auto scale = Accumulator<T>(params.scale);
    parallel_for((params.count + kTaskElems - 1) / kTaskElems, [&](int64_t task, int) {
      const int64_t end = std::min((task + 1) * kTaskElems, params.count);
      for (int64_t i = task * kTaskElems; i < end; ++i) y[i] = T(scale * Accumulator<T>(x[i]));
    });
  });
}

}  // namespace fastcnn::cpu
