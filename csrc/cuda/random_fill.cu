// Uniform, normal and whole random numbers, and ones by their probability: a thread for each Philox block, whose elements
// lie side by side. The same bits as on the CPU: float64 arithmetic without fused multiply-adds, rounded once.
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

/// Four elements to a block, whatever their type. NaN where the probability is outside of [0, 1] or NaN.
template <class T>
FC_KERNEL bernoulli_kernel(RandomFillParams p, const T* share, T* y, bool aligned) {
  constexpr int kCount = 4,
                kPart = sizeof(T) == 8 ? 2 : 4;  // a word of the block each; what one access moves
  const int64_t block = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  const PhiloxBlock b = philox(p.key, 0, static_cast<uint64_t>(block));
  FC_UNROLL
  for (int part = 0; part < kCount; part += kPart) {
    const int64_t first = block * kCount + part;
    const bool whole = first + kPart <= p.count;
    Vec<T, kPart> v{};
    if (whole && aligned) v = load(reinterpret_cast<const Vec<T, kPart>*>(share + first));
    FC_UNROLL
    for (int i = 0; i < kPart; ++i) {
      if (first + i >= p.count) break;
      const double chance = widen(whole && aligned ? v.at[i] : load(share + first + i));
      const Wide<T> drawn = b.word[part + i] * 0x1p-32 < chance ? 1 : 0;
      const bool fits = chance >= 0 && chance <= 1;
      v.at[i] = Narrow<T>::of(fits ? drawn : static_cast<Wide<T>>(__int_as_float(0x7fffffff)));
      if (!whole) store(y + first + i, v.at[i]);
    }
    if (whole) store(reinterpret_cast<Vec<T, kPart>*>(y + first), v);
  }
}

dim3 blocks_of(int64_t count, int per_thread) {
  const int64_t blocks = ceil_div<int64_t>(count, int64_t{kThreads} * per_thread);
  FC_CHECK(blocks <= 2147483647, "rand: got ", count, " elements, more than one launch covers");
  return dim3(static_cast<unsigned>(blocks));
}

template <class T>
void run(const RandomFillParams& p, cudaStream_t stream) {
  launch("random_fill", random_fill_kernel<T>,
         {blocks_of(p.count, sizeof(T) == 8 ? 2 : 4), dim3(kThreads), stream}, p, static_cast<T*>(p.y));
}

}  // namespace

void random_fill(const RandomFillParams& p, void* stream_) {
  const auto stream = static_cast<cudaStream_t>(stream_);
  if (p.kind == RandomFillParams::integer) return run<int64_t>(p, stream);
  dispatch_device_float(p.dtype, "random", [&](auto type) {
    using T = typename decltype(type)::type;
    if (p.kind != RandomFillParams::bernoulli) return run<T>(p, stream);
    launch("bernoulli", bernoulli_kernel<T>, {blocks_of(p.count, 4), dim3(kThreads), stream}, p,
           static_cast<const T*>(p.p), static_cast<T*>(p.y), is_aligned(p.p, 16));
  });
}

}  // namespace fastcnn::cuda
