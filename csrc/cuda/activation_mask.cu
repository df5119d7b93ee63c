// One bit per element instead of an activation's output: making the bits, and using them in its gradient.
#include "cuda/elementwise.h"
#include "cuda/pointwise.cuh"

namespace fastcnn::cuda {
namespace {

constexpr int kThreads = 256;

template <class A>
FC_DEVICE bool passes(Binary op, A y, A p, A q) {
  switch (op) {
    case Binary::relu_backward: return ReluBackward::f(A(1), y, p, q) == A(1);
    case Binary::relu6_backward: return Relu6Backward::f(A(1), y, p, q) == A(1);
    case Binary::hardtanh_backward: return HardtanhBackward::f(A(1), y, p, q) == A(1);
    default: return LeakyReluBackward::f(A(1), y, p, q) == A(1);
  }
}

/// A warp votes on 32 elements side by side; the votes are 4 bytes of the bits.
template <class T>
FC_KERNEL pack_mask_kernel(Binary op, Wide<T> p, Wide<T> q, const T* y, int64_t count, uint8_t* bits) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  const bool pass = i < count && passes(op, widen(load(y + i)), p, q);
  const unsigned votes = __ballot_sync(kFullMask, pass);
  if (threadIdx.x % 32 != 0 || i >= count) return;
  if (i + 32 <= count) return store(reinterpret_cast<unsigned*>(bits + i / 8), votes);
  for (int byte = 0; i + 8 * byte < count; ++byte)
    store(bits + i / 8 + byte, static_cast<uint8_t>(votes >> 8 * byte));
}

/// dx lies as the bits do: kCount elements of it and of dy side by side, whose bits are in one byte.
template <class T, int kCount>
FC_KERNEL apply_mask_kernel(bool leaky, Wide<T> slope, const uint8_t* bits, int64_t count, const T* dy,
                            T* dx) {
  const int64_t first = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) * kCount;
  if (first >= count) return;
  const unsigned byte = load(bits + first / 8) >> (first % 8);
  const auto one = [&](T v, int i) {
    if (byte >> i & 1) return v;
    return Narrow<T>::of(leaky ? widen(v) * slope : Wide<T>(0));
  };
  if (first + kCount <= count) {
    auto v = load(reinterpret_cast<const Vec<T, kCount>*>(dy + first));
    FC_UNROLL
    for (int i = 0; i < kCount; ++i) v.at[i] = one(v.at[i], i);
    store(reinterpret_cast<Vec<T, kCount>*>(dx + first), v);
  } else {
    for (int i = 0; first + i < count; ++i) store(dx + first + i, one(load(dy + first + i), i));
  }
}

/// Any dy: a thread for each element of dx, whose place is that of its bit.
template <class T>
FC_KERNEL apply_mask_strided_kernel(bool leaky, Wide<T> slope, const uint8_t* bits, unsigned count,
                                    Walk<2> walk, const T* dy, T* dx) {
  const unsigned i = blockIdx.x * kThreads + threadIdx.x;
  if (i >= count) return;
  int64_t at[2];
  walk.offsets(i, at);
  const T v = load(dy + at[1]);
  const bool pass = load(bits + at[0] / 8) >> (at[0] % 8) & 1;
  store(dx + at[0], pass ? v : Narrow<T>::of(leaky ? widen(v) * slope : Wide<T>(0)));
}

unsigned blocks_of(int64_t threads) {
  const int64_t blocks = ceil_div<int64_t>(threads, kThreads);
  FC_CHECK(blocks <= 2147483647, "activation_mask: more elements than one launch covers");
  return static_cast<unsigned>(blocks);
}

}  // namespace

void pack_mask(const PackMaskParams& a, void* stream) {
  dispatch_device_float(a.dtype, "activation_mask", [&](auto type) {
    using T = typename decltype(type)::type;
    using A = Wide<T>;
    launch("activation_mask", pack_mask_kernel<T>,
           {dim3(blocks_of(a.count)), dim3(kThreads), static_cast<cudaStream_t>(stream)}, a.op,
           static_cast<A>(a.p0), static_cast<A>(a.p1), static_cast<const T*>(a.y), a.count, a.bits);
  });
}

void apply_mask(const ApplyMaskParams& a, void* stream) {
  const Loop& loop = a.loop;
  const bool leaky = a.op == Binary::leaky_relu_backward;
  dispatch_device_float(loop.dtype[0], "activation_mask", [&](auto type) {
    using T = typename decltype(type)::type;
    const auto slope = static_cast<Wide<T>>(a.p0);
    const T* dy = static_cast<const T*>(loop.data[1]);
    T* dx = static_cast<T*>(loop.data[0]);
    const auto s = static_cast<cudaStream_t>(stream);
    if (loop.ndim == 1 && loop.strides[0][0] == 1 && loop.strides[1][0] == 1) {
      const bool aligned = is_aligned(dy, 16) && is_aligned(dx, 16);
      return launch(
          "activation_mask", aligned ? apply_mask_kernel<T, kLanes<T>> : apply_mask_kernel<T, 1>,
          {dim3(blocks_of(ceil_div<int64_t>(loop.numel, aligned ? kLanes<T> : 1))), dim3(kThreads), s}, leaky,
          slope, a.bits, loop.numel, dy, dx);
    }
    FC_CHECK(loop.numel <= kMaxIndices, "activation_mask: got ", loop.numel, " elements in another order, ",
             "expected at most ", kMaxIndices, " on CUDA");
    const int64_t* const strides[] = {loop.strides[0], loop.strides[1]};
    launch("activation_mask", apply_mask_strided_kernel<T>, {dim3(blocks_of(loop.numel)), dim3(kThreads), s},
           leaky, slope, a.bits, static_cast<unsigned>(loop.numel), make_walk(loop.ndim, loop.shape, strides),
           dy, dx);
  });
}

}  // namespace fastcnn::cuda
