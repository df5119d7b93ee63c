#include "cpu/optim.h"

#include <algorithm>

#include "cpu/isa.h"
#include "cpu/thread_pool.h"

namespace fastcnn::cpu {

namespace {

#include "cpu/kernels/optim.inl"

OptimFn find(OptimRule rule, DType dtype) {
  switch (dtype) {
    case DType::float32: return kernels().optim.find(rule);
    case DType::float64: return optim_find<double, double>(rule);
    case DType::float16: return optim_find<Half, float>(rule);
    default: return optim_find<BFloat16, float>(rule);
  }
}

}  // namespace

void optim(const OptimParams& params) {
  const OptimFn fn = find(params.rule, params.dtype);
  const int64_t item_bytes = int64_t(size_of(params.dtype));
  const int64_t state_bytes = params.dtype == DType::float64 ? 8 : 4;
  parallel_for(params.tasks, [&](int64_t task, int) {
    // The last item that starts at or before this task; items without elements have no tasks.
    const OptimItem* item = std::upper_bound(params.items, params.items + params.item_count, task,
                                             [](int64_t t, const OptimItem& i) { return t < i.first_task; }) -
                            1;
    const int64_t begin = (task - item->first_task) * kOptimTaskElems;
    const int64_t count = std::min(kOptimTaskElems, item->count - begin);
    void* state[3] = {};
    for (int i = 0; i < kOptimStates[int(params.rule)]; ++i)
      state[i] = static_cast<char*>(item->state[i]) + begin * state_bytes;
    fn(static_cast<char*>(item->param) + begin * item_bytes,
       static_cast<const char*>(item->grad) + begin * item_bytes, state, count, item->numbers);
  });
}

}  // namespace fastcnn::cpu
