#include "cpu/axis_map.h"

#include <algorithm>

#include "cpu/isa.h"
#include "cpu/thread_pool.h"

namespace fastcnn::cpu {

namespace {

#include "cpu/kernels/axis_map.inl"

template <class T>
void run(const AxisMapParams& a) {
  AxisMapKernels k{axis_map_row<T, Accumulator<T>>};
  if constexpr (std::is_same_v<T, float>) k = kernels().axis_map;
  constexpr int64_t kTaskElems = 16384;
  const AxisMap::Rows& rows = *a.rows;
  const int64_t out = rows.count(), total = a.outer * out;
  const int64_t per_task = std::max<int64_t>(1, kTaskElems / std::max<int64_t>(a.inner, 1));
  parallel_for((total + per_task - 1) / per_task, [&](int64_t task, int) {
    for (int64_t row = task * per_task; row < std::min(total, (task + 1) * per_task); ++row) {
      const int64_t outer = row / out, begin = rows.begin[size_t(row % out)];
      k.row(static_cast<T*>(a.y) + row * a.inner, static_cast<const T*>(a.x) + outer * a.in * a.inner,
            rows.index.data() + begin, rows.weight.data() + begin, rows.begin[size_t(row % out) + 1] - begin,
            a.inner, a.inner);
    }
  });
}

}  // namespace

void axis_map(const AxisMapParams& params) {
  dispatch_float(params.dtype, "axis_map", [&](auto type) { run<typename decltype(type)::type>(params); });
}

}  // namespace fastcnn::cpu
