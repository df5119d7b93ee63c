// sort, argsort and topk: keys that compare as unsigned integers do, sorted by sort.cuh; then values are fetched by the
// positions that came out.
#include "cuda/scan.h"
#include "cuda/sort.cuh"

namespace fastcnn::cuda {
namespace {

constexpr int kThreads = 256;

struct Line {
  DType dtype;
  bool descending;
  int64_t step;
  Walk<1> walk;
  const void* x;
};

/// An unsigned integer for each number, in the same order: NaN above all others, -0 equal to 0.
template <class U, class F>
FC_DEVICE U float_key(F v) {
  constexpr U kSign = U(1) << (8 * sizeof(U) - 1);
  U bits;
  memcpy(&bits, &v, sizeof(U));
  if (v != v) return ~U(0);
  if (v == F(0)) bits = 0;
  return bits & kSign ? ~bits : bits | kSign;
}
template <class T>
FC_DEVICE T number(const void* x, int64_t at) {
  return load(static_cast<const T*>(x) + at);
}
template <class U>
FC_DEVICE U key_of(DType dtype, const void* x, int64_t at) {
  if constexpr (sizeof(U) == 8) {
    if (dtype == DType::float64) return float_key<U>(number<double>(x, at));
    return static_cast<U>(number<int64_t>(x, at)) ^ U(1) << 63;
  } else {
    switch (dtype) {
      case DType::float32: return float_key<U>(number<float>(x, at));
      case DType::float16: return float_key<U>(widen(number<__half>(x, at)));
      case DType::bfloat16: return float_key<U>(widen(number<__nv_bfloat16>(x, at)));
      case DType::int32: return static_cast<U>(number<int32_t>(x, at)) ^ U(1) << 31;
      default: return number<uint8_t>(x, at);  // uint8, bool
    }
  }
}

template <class E>
struct KeySource {
  Line l;
  FC_METHOD E operator()(unsigned line, unsigned i) const {
    int64_t at[1];
    l.walk.offsets(line, at);
    const auto key = key_of<typename E::Key>(l.dtype, l.x, at[0] + i * l.step);
    return E::of(l.descending ? static_cast<typename E::Key>(~key) : key, i);
  }
};

struct Result {
  int bytes;  // of an element
  int64_t x_step, values_step, indices_step, pitch;
  FastDivide k;
  Walk<3> walk;  // lines of x, values, indices
  const void* x;
  void* values;  // or nullptr
  int64_t* indices;
};

template <class W>
FC_DEVICE void move(void* to, int64_t to_at, const void* from, int64_t from_at) {
  store(static_cast<W*>(to) + to_at, load(static_cast<const W*>(from) + from_at));
}

template <class E>
FC_KERNEL sort_result_kernel(Result r, unsigned count, const E* entries) {
  unsigned line = blockIdx.x * kThreads + threadIdx.x;
  if (line >= count) return;
  const int64_t i = r.k.split(line);
  int64_t at[3];
  r.walk.offsets(line, at);
  const int64_t position = load(entries + line * r.pitch + i).position();
  store(r.indices + at[2] + i * r.indices_step, position);
  if (!r.values) return;
  const int64_t from = at[0] + position * r.x_step, to = at[1] + i * r.values_step;
  switch (r.bytes) {
    case 1: return move<uint8_t>(r.values, to, r.x, from);
    case 2: return move<uint16_t>(r.values, to, r.x, from);
    case 4: return move<uint32_t>(r.values, to, r.x, from);
    default: return move<uint64_t>(r.values, to, r.x, from);
  }
}

template <class E>
void run(const SortParams& p, cudaStream_t stream) {
  const int64_t* const of_x[] = {p.x.strides};
  const KeySource<E> source{
      {p.dtype, p.descending, p.x.step, make_walk(p.x.ndim, p.x.shape, of_x), p.x_data}};
  const SortTiles tiles{p.lines, p.count, p.k};
  const E* entries = sort_lines<E>("sort", tiles, source, p.workspace, stream);
  const RowLayout& values = p.values_data ? p.values : p.indices;
  const int64_t* const strides[] = {p.x.strides, values.strides, p.indices.strides};
  const Result result{static_cast<int>(size_of(p.dtype)),
                      p.x.step,
                      values.step,
                      p.indices.step,
                      tiles.length(),
                      FastDivide(p.k),
                      make_walk(p.x.ndim, p.x.shape, strides),
                      p.x_data,
                      p.values_data,
                      p.indices_data};
  const auto count = static_cast<unsigned>(p.lines * p.k);
  launch("sort", sort_result_kernel<E>, {dim3(ceil_div<unsigned>(count, kThreads)), dim3(kThreads), stream},
         result, count, entries);
}

}  // namespace

void sort(const SortParams& p, void* stream) {
  const auto s = static_cast<cudaStream_t>(stream);
  size_of(p.dtype) == 8 ? run<WideEntry>(p, s) : run<PackedEntry>(p, s);
}

}  // namespace fastcnn::cuda
