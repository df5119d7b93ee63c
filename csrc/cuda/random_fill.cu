// Uniform, normal and whole random numbers: a thread for each Philox block, whose elements lie side by side. The same
// bits as on the CPU: float64 arithmetic without fused multiply-adds, rounded once.
#include <algorithm>

#include "common/normal.h"
#include "cuda/dispatch.cuh"
#include "cuda/launch.cuh"
#include "cuda/random.h"
#include "cuda/vec.cuh"

namespace fastcnn::cuda {
namespace {

constexpr int kThreads = 256;

template <class T>
FC_DEVICE T draw(const RandomFillParams& p, const PhiloxBlock& b, int i) {
  if constexpr (std::is_same_v<T, int64_t>) {
    return static_cast<int64_t>(static_cast<uint64_t>(p.first) + random_below(random_word64(b, i), p.range));
  } else {
    constexpr bool kWide = sizeof(T) == 8;
    double v = 0;
    if (p.kind == RandomFillParams::normal) {
      v = random_mul_add(p.high, kWide ? random_normal2(b, i & 1) : random_normal4(b, i), p.low);
    } else {
      v = random_mul_add(p.high - p.low, random_fraction(b, i, kWide ? 53 : random_bits(p.dtype)), p.low);
    }
    return Narrow<T>::of(static_cast<Wide<T>>(v));
  }
}

template <class T>
FC_KERNEL random_fill_kernel(RandomFillParams p, T* y) {
  constexpr int kCount = sizeof(T) == 8 ? 2 : 4;
  const int64_t block = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x, first = block * kCount;
  if (first >= p.count) return;
  const PhiloxBlock b = philox(p.key, 0, static_cast<uint64_t>(block));
  Vec<T, kCount> v;
  FC_UNROLL
  for (int i = 0; i < kCount; ++i) v.at[i] = draw<T>(p, b, i);
  if (first + kCount <= p.count) return store(reinterpret_cast<Vec<T, kCount>*>(y + first), v);
  FC_UNROLL
  for (int i = 0; i < kCount; ++i)
    if (first + i < p.count) store(y + first + i, v.at[i]);
}

template <class T>
void run(const RandomFillParams& p, void* stream) {
  const int64_t blocks = ceil_div<int64_t>(p.count, int64_t{kThreads} * (sizeof(T) == 8 ? 2 : 4));
  FC_CHECK(blocks <= 2147483647, "rand: got ", p.count, " elements, more than one launch covers");
  launch("random_fill", random_fill_kernel<T>,
         {dim3(static_cast<unsigned>(blocks)), dim3(kThreads), static_cast<cudaStream_t>(stream)}, p,
         static_cast<T*>(p.y));
}

}  // namespace

void random_fill(const RandomFillParams& p, void* stream) {
  FC_CHECK(p.kind != RandomFillParams::bernoulli, "bernoulli: has no CUDA kernel, is drawn on the host");
  if (p.kind == RandomFillParams::integer) return run<int64_t>(p, stream);
  dispatch_device_float(p.dtype, "random", [&](auto type) { run<typename decltype(type)::type>(p, stream); });
}

}  // namespace fastcnn::cuda
