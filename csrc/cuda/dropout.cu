// Dropout: y = keep ? x * scale + shift : dropped. Nothing is stored but y: the mask is drawn again in backward.
//
// One Philox block gives eight draws of 16 bits, which belong to eight neighbouring positions of a sample in logical
// (NCHW) order. A thread draws one block and writes those eight elements, wherever they lie. In channels-last memory
// that would put neighbouring threads far apart, so there neighbouring threads take neighbouring channels instead.
#include "cuda/dispatch.cuh"
#include "cuda/dropout.h"
#include "cuda/launch.cuh"
#include "cuda/vec.cuh"
#include "cuda/walk.cuh"

namespace fastcnn::cuda {
namespace {

constexpr int kThreads = 256, kDraws = 8;

template <class T>
struct Dropout {
  const T* x;
  T* y;
  RandomKey key;
  uint32_t threshold;
  Wide<T> scale, shift, dropped;

  FC_METHOD void apply(const PhiloxBlock& draws, int j, int64_t x_at, int64_t y_at) const {
    const bool keep = philox_half(draws, j) >= threshold;
    store(y + y_at, Narrow<T>::of(keep ? widen(load(x + x_at)) * scale + shift : dropped));
  }
};

/// A draw for each element. `sample` walks the axes behind the batch in logical order; blocks of a sample are dealt to
/// threads `turns` apart: thread i gets block (i % lanes) * turns + i / lanes.
template <class T>
FC_KERNEL dropout_kernel(Dropout<T> p, unsigned count, FastDivide blocks, FastDivide lanes, unsigned turns,
                         unsigned size, Walk<2> sample, int64_t x_step, int64_t y_step) {
  unsigned rest = blockIdx.x * kThreads + threadIdx.x;
  if (rest >= count) return;
  unsigned turn = blocks.split(rest);
  const unsigned n = rest, lane = lanes.split(turn), block = lane * turns + turn;
  const PhiloxBlock draws = philox(p.key, n, block);
  FC_UNROLL
  for (int j = 0; j < kDraws; ++j) {
    const unsigned position = block * kDraws + static_cast<unsigned>(j);
    if (position >= size) break;
    int64_t at[2];
    sample.offsets(position, at);
    p.apply(draws, j, n * x_step + at[0], n * y_step + at[1]);
  }
}

/// A mask that is shared along some axes: a thread per element draws its block anew.
template <class T>
FC_KERNEL dropout_shared_kernel(Dropout<T> p, unsigned count, FastDivide size, Walk<3> sample, int64_t x_step,
                                int64_t y_step, bool per_sample) {
  unsigned rest = blockIdx.x * kThreads + threadIdx.x;
  if (rest >= count) return;
  int64_t at[3];  // x, y, position in the mask
  sample.offsets(size.split(rest), at);
  const PhiloxBlock draws = philox(p.key, per_sample ? rest : 0, static_cast<uint64_t>(at[2]) / kDraws);
  p.apply(draws, static_cast<int>(at[2] % kDraws), rest * x_step + at[0], rest * y_step + at[1]);
}

template <class T>
void run(const DropoutParams& q, cudaStream_t stream) {
  Dropout<T> p{static_cast<const T*>(q.x),
               static_cast<T*>(q.y),
               q.key,
               q.threshold,
               static_cast<Wide<T>>(q.scale),
               static_cast<Wide<T>>(q.shift),
               static_cast<Wide<T>>(q.dropped)};
  // Axis 0 is the sample; a scalar is a sample of one.
  const int inner = q.ndim > 0 ? q.ndim - 1 : 0;
  const int64_t samples = q.ndim ? q.shape[0] : 1, x_step = q.ndim ? q.x_strides[0] : 0,
                y_step = q.ndim ? q.y_strides[0] : 0;
  int64_t size = 1, mask_strides[kMaxDims] = {};
  bool shared = samples > 1 && q.mask_shape[0] == 1;
  for (int axis = q.ndim - 1, step = 1; axis >= 1; --axis) {
    size *= q.shape[axis];
    mask_strides[axis] = q.mask_shape[axis] == 1 ? 0 : step;
    step *= static_cast<int>(q.mask_shape[axis]);
    shared = shared || q.mask_shape[axis] != q.shape[axis];
  }
  FC_CHECK(size <= kMaxIndices, "dropout: a sample of ", size, " elements, expected at most ", kMaxIndices,
           " on CUDA");
  const int64_t at_once = kMaxIndices / size;  // samples of a launch
  for (int64_t n = 0; n < samples; n += at_once) {
    const int64_t now = std::min(at_once, samples - n);
    if (shared) {
      const int64_t* const strides[] = {q.x_strides + 1, q.y_strides + 1, mask_strides + 1};
      const auto count = static_cast<unsigned>(now * size);
      launch("dropout", dropout_shared_kernel<T>,
             {dim3(ceil_div<unsigned>(count, kThreads)), dim3(kThreads), stream}, p, count, FastDivide(size),
             make_walk(inner, q.shape + 1, strides), x_step, y_step, q.ndim > 0 && q.mask_shape[0] > 1);
    } else {
      const int64_t* const strides[] = {q.x_strides + 1, q.y_strides + 1};
      const int64_t blocks = ceil_div<int64_t>(size, kDraws), count = now * blocks;
      const int64_t channels = q.ndim > 1 ? q.shape[1] : 1, pixels = size / channels;
      const bool channels_last = q.ndim > 2 && q.y_strides[1] == 1 && pixels % kDraws == 0;
      const int64_t lanes = channels_last ? channels : 1;
      launch("dropout", dropout_kernel<T>,
             {dim3(static_cast<unsigned>(ceil_div<int64_t>(count, kThreads))), dim3(kThreads), stream}, p,
             static_cast<unsigned>(count), FastDivide(blocks), FastDivide(lanes),
             static_cast<unsigned>(blocks / lanes), static_cast<unsigned>(size),
             make_walk(inner, q.shape + 1, strides), x_step, y_step);
    }
    p.x += now * x_step;
    p.y += now * y_step;
    if (!shared || q.mask_shape[0] > 1) p.key.first_sample += static_cast<uint64_t>(now);
  }
}

}  // namespace

void dropout(const DropoutParams& params, void* stream) {
  dispatch_device_float(params.dtype, "dropout", [&](auto type) {
    run<typename decltype(type)::type>(params, static_cast<cudaStream_t>(stream));
  });
}

}  // namespace fastcnn::cuda
