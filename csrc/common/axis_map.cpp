#include "common/axis_map.h"

#include <utility>

namespace fastcnn {

AxisMap::AxisMap(int64_t in, Rows rows) : forward_(std::move(rows)) {
  FC_CHECK(!forward_.begin.empty() && forward_.begin.front() == 0 &&
               forward_.begin.back() == int64_t(forward_.index.size()) &&
               forward_.index.size() == forward_.weight.size(),
           "axis_map: begin, index and weight do not fit each other");
  transposed_.begin.assign(size_t(in) + 1, 0);
  for (int64_t i : forward_.index) {
    FC_CHECK(i >= 0 && i < in, "axis_map: index ", i, " is outside an axis of ", in);
    ++transposed_.begin[size_t(i) + 1];
  }
  for (size_t i = 0; i < size_t(in); ++i) transposed_.begin[i + 1] += transposed_.begin[i];
  transposed_.index.resize(forward_.index.size());
  transposed_.weight.resize(forward_.index.size());
  std::vector<int64_t> next(transposed_.begin.begin(), transposed_.begin.end() - 1);
  for (int64_t o = 0; o < forward_.count(); ++o)
    for (int64_t k = forward_.begin[size_t(o)]; k < forward_.begin[size_t(o) + 1]; ++k) {
      const size_t to = size_t(next[size_t(forward_.index[size_t(k)])]++);
      transposed_.index[to] = o;
      transposed_.weight[to] = forward_.weight[size_t(k)];
    }
}

}  // namespace fastcnn
