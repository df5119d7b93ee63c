// y[.., o, ..] = sum over k of weight[o, k] x[.., index[o, k], ..]: a thread for 16 bytes (or one element) of y. The rows
// of the map are copied to the card first: a few kilobytes, the same for all threads, that stay in its caches.
#include <algorithm>
#include <cstring>
#include <vector>

#include "cuda/axis_map.h"
#include "cuda/dispatch.cuh"
#include "cuda/launch.cuh"
#include "cuda/runtime.h"
#include "cuda/vec.cuh"
#include "cuda/walk.cuh"

namespace fastcnn::cuda {
namespace {

constexpr int kThreads = 256;

struct alignas(16) Entry {
  double weight;
  int64_t index;
};
struct Map {
  const Entry* entries;
  const int64_t* begin;
  FastDivide inner, out;  // inner: in vectors
  int64_t in;
};

template <class T, int kCount>
FC_KERNEL axis_map_kernel(Map map, unsigned count, const T* x, T* y) {
  const unsigned position = blockIdx.x * kThreads + threadIdx.x;
  if (position >= count) return;
  using A = Wide<T>;
  using V = Vec<T, kCount>;
  unsigned outer = position;
  const int64_t i = map.inner.split(outer), width = map.inner.divisor;
  const unsigned o = map.out.split(outer);
  const V* from = reinterpret_cast<const V*>(x) + outer * map.in * width + i;
  const int64_t first = load(map.begin + o), end = load(map.begin + o + 1);
  V v{};
  const Entry only = first < end ? load(map.entries + first) : Entry{0, 0};
  if (end - first == 1 && only.weight == 1) {  // a copy: infinities and NaN pass as they are
    v = load(from + only.index * width);
  } else {
    A sum[kCount] = {};
    for (int64_t k = first; k < end; ++k) {
      const Entry entry = load(map.entries + k);
      const V values = load(from + entry.index * width);
      FC_UNROLL
      for (int j = 0; j < kCount; ++j) sum[j] += static_cast<A>(entry.weight) * widen(values.at[j]);
    }
    FC_UNROLL
    for (int j = 0; j < kCount; ++j) v.at[j] = Narrow<T>::of(sum[j]);
  }
  store(reinterpret_cast<V*>(y) + position, v);
}

Map copy_table(const AxisMapParams& a, cudaStream_t stream) {
  const AxisMap::Rows& rows = *a.rows;
  const size_t entries = rows.index.size(), ends = entries * sizeof(Entry);
  std::vector<char> host(rows.table_bytes());
  for (size_t k = 0; k < entries; ++k) {
    const Entry entry{rows.weight[k], rows.index[k]};
    std::memcpy(host.data() + k * sizeof(Entry), &entry, sizeof(Entry));
  }
  std::memcpy(host.data() + ends, rows.begin.data(), rows.begin.size() * sizeof(int64_t));
  copy_to_device(a.table, host.data(), host.size(), stream);
  Map map{};
  map.entries = static_cast<const Entry*>(a.table);
  map.begin = reinterpret_cast<const int64_t*>(static_cast<const char*>(a.table) + ends);
  map.out = FastDivide(rows.count());
  map.in = a.in;
  return map;
}

template <class T, int kCount>
void run(const AxisMapParams& a, Map map, cudaStream_t stream) {
  const int64_t width = a.inner / kCount, slab = a.rows->count() * width;
  FC_CHECK(slab <= kMaxIndices, "axis_map: one outer index has ", slab, " elements, expected at most ",
           kMaxIndices, " on CUDA");
  map.inner = FastDivide(width);
  const int64_t at_once = kMaxIndices / slab;
  for (int64_t first = 0; first < a.outer; first += at_once) {
    const auto count = static_cast<unsigned>(std::min(at_once, a.outer - first) * slab);
    launch("axis_map", axis_map_kernel<T, kCount>,
           {dim3(ceil_div<unsigned>(count, kThreads)), dim3(kThreads), stream}, map, count,
           static_cast<const T*>(a.x) + first * a.in * a.inner,
           static_cast<T*>(a.y) + first * a.rows->count() * a.inner);
  }
}

}  // namespace

void axis_map(const AxisMapParams& a, void* stream) {
  const auto s = static_cast<cudaStream_t>(stream);
  dispatch_device_float(a.dtype, "axis_map", [&](auto type) {
    using T = typename decltype(type)::type;
    const Map map = copy_table(a, s);
    const bool vectors = a.inner % kLanes<T> == 0 && is_aligned(a.x, 16) && is_aligned(a.y, 16);
    vectors ? run<T, kLanes<T>>(a, map, s) : run<T, 1>(a, map, s);
  });
}

}  // namespace fastcnn::cuda
