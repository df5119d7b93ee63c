// Fractional max pooling: a thread for each element of the result, neighbours in channels, which have windows of their
// own. A window's start is computed from the channel's number where it is needed: no tables.
#include <algorithm>

#include "cuda/dispatch.cuh"
#include "cuda/launch.cuh"
#include "cuda/pool.h"
#include "cuda/vec.cuh"
#include "cuda/walk.cuh"

namespace fastcnn::cuda {
namespace {

constexpr int kThreads = 256;

struct Fractional {
  FractionalProblem p;
  FractionalParams::Pass pass;
  FastDivide channel, extent[3];  // of the tensor that threads walk over
  bool narrow;                    // codes are uint8, else int32
};

/// (n, d, h, w, channel) of a thread's element and the three numbers of its channel.
struct Place {
  int64_t n, i[3], c;
  double u[3];
};
FC_DEVICE Place place_of(const Fractional& f, unsigned rest, const double* samples) {
  Place at;
  at.c = f.channel.split(rest);
  FC_UNROLL
  for (int axis = 2; axis >= 0; --axis) at.i[axis] = f.extent[axis].split(rest);
  at.n = rest;
  const double* u = samples + (at.n * f.p.C + at.c) * f.p.spatial;
  // Two axes are stored as width, height; three as they are.
  at.u[0] = f.p.spatial == 3 ? load(u) : 0;
  at.u[1] = load(u + 1);
  at.u[2] = f.p.spatial == 3 ? load(u + 2) : load(u);
  return at;
}
FC_DEVICE int64_t start_of(const Fractional& f, int axis, int64_t o, double u) {
  return axis < 3 - f.p.spatial ? 0 : f.p.start(axis, o, u);
}
FC_DEVICE int64_t load_code(const Fractional& f, const void* tap, int64_t at) {
  return f.narrow ? load(static_cast<const uint8_t*>(tap) + at) : load(static_cast<const int32_t*>(tap) + at);
}

template <class T>
FC_KERNEL fractional_output_kernel(Fractional f, unsigned count, const double* samples, const T* x, void* tap,
                                   void* y) {
  const unsigned index = blockIdx.x * kThreads + threadIdx.x;
  if (index >= count) return;
  const FractionalProblem& p = f.p;
  const Place at = place_of(f, index, samples);
  int64_t s[3];
  FC_UNROLL
  for (int axis = 0; axis < 3; ++axis) s[axis] = start_of(f, axis, at.i[axis], at.u[axis]);
  const auto cell = [&](int64_t d, int64_t h, int64_t w) {
    return ((s[0] + d) * p.in[1] + s[1] + h) * p.in[2] + s[2] + w;
  };
  const int64_t sample = at.n * p.in[0] * p.in[1] * p.in[2];
  if (f.pass != FractionalParams::forward) {
    const int64_t code = load_code(f, tap, index), row = code / p.window[2];
    const int64_t won = cell(row / p.window[1], row % p.window[1], code % p.window[2]);
    if (f.pass == FractionalParams::indices)
      store(static_cast<int64_t*>(y) + index, won);
    else
      store(static_cast<T*>(y) + index, load(x + (sample + won) * p.C + at.c));
    return;
  }
  using A = Wide<T>;
  A best = 0;
  int64_t code = 0, won = 0;
  for (int64_t d = 0; d < p.window[0]; ++d) {
    for (int64_t h = 0; h < p.window[1]; ++h) {
      for (int64_t w = 0; w < p.window[2]; ++w, ++code) {
        const A v = widen(load(x + (sample + cell(d, h, w)) * p.C + at.c));
        if (code == 0 || v > best || v != v) {  // NaN wins, the last one; among equals the first
          best = v;
          won = code;
        }
      }
    }
  }
  store(static_cast<T*>(y) + index, Narrow<T>::of(best));
  if (tap && f.narrow) store(static_cast<uint8_t*>(tap) + index, static_cast<uint8_t>(won));
  if (tap && !f.narrow) store(static_cast<int32_t*>(tap) + index, static_cast<int32_t>(won));
}

/// The first output position whose window reaches beyond input cell i; starts ascend.
FC_DEVICE int64_t first_reader(const Fractional& f, int axis, int64_t i, double u) {
  int64_t low = 0, high = f.p.out[axis];
  while (low < high) {
    const int64_t middle = (low + high) / 2;
    if (start_of(f, axis, middle, u) + f.p.window[axis] > i)
      high = middle;
    else
      low = middle + 1;
  }
  return low;
}

/// By input cells: each adds up the windows that it won, in order.
template <class T>
FC_KERNEL fractional_backward_kernel(Fractional f, unsigned count, const double* samples, const T* dy,
                                     const void* tap, T* dx) {
  const unsigned index = blockIdx.x * kThreads + threadIdx.x;
  if (index >= count) return;
  const FractionalProblem& p = f.p;
  const Place at = place_of(f, index, samples);
  int64_t first[3];
  FC_UNROLL
  for (int axis = 0; axis < 3; ++axis) first[axis] = first_reader(f, axis, at.i[axis], at.u[axis]);
  Wide<T> sum = 0;
  for (int64_t d = first[0]; d < p.out[0]; ++d) {
    const int64_t t = at.i[0] - start_of(f, 0, d, at.u[0]);
    if (t < 0) break;
    for (int64_t h = first[1]; h < p.out[1]; ++h) {
      const int64_t r = at.i[1] - start_of(f, 1, h, at.u[1]);
      if (r < 0) break;
      for (int64_t w = first[2]; w < p.out[2]; ++w) {
        const int64_t s = at.i[2] - start_of(f, 2, w, at.u[2]);
        if (s < 0) break;
        const int64_t from = (((at.n * p.out[0] + d) * p.out[1] + h) * p.out[2] + w) * p.C + at.c;
        if (load_code(f, tap, from) == (t * p.window[1] + r) * p.window[2] + s) sum += widen(load(dy + from));
      }
    }
  }
  store(dx + index, Narrow<T>::of(sum));
}

template <class T>
T* moved(const void* p, int64_t offset) {
  return p ? const_cast<T*>(static_cast<const T*>(p)) + offset : nullptr;
}

template <class T>
void run(const FractionalParams& a, cudaStream_t stream) {
  const FractionalProblem& p = *a.problem;
  const bool backward = a.pass == FractionalParams::backward;
  Fractional f{p, a.pass, FastDivide(p.C), {}, p.tap_dtype() == DType::uint8};
  for (int i = 0; i < 3; ++i) f.extent[i] = FastDivide(backward ? p.in[i] : p.out[i]);
  const int64_t in = p.C * p.in[0] * p.in[1] * p.in[2], out = p.C * p.out[0] * p.out[1] * p.out[2];
  const int64_t sample = backward ? in : out;
  FC_CHECK(sample <= kMaxIndices, "fractional_max_pool: a sample of ", sample, " elements, expected at most ",
           kMaxIndices, " on CUDA");
  const int64_t at_once = kMaxIndices / sample;
  for (int64_t n = 0; n < p.N; n += at_once) {
    const auto count = static_cast<unsigned>(std::min(at_once, p.N - n) * sample);
    const Grid grid{dim3(ceil_div<unsigned>(count, kThreads)), dim3(kThreads), stream};
    const double* samples = a.samples + n * p.C * p.spatial;
    void* tap =
        f.narrow ? static_cast<void*>(moved<uint8_t>(a.tap, n * out)) : moved<int32_t>(a.tap, n * out);
    if (backward) {
      launch("fractional_max_pool", fractional_backward_kernel<T>, grid, f, count, samples,
             moved<T>(a.x, n * out), tap, moved<T>(a.y, n * in));
    } else {
      void* y = a.pass == FractionalParams::indices ? static_cast<void*>(moved<int64_t>(a.y, n * out))
                                                    : moved<T>(a.y, n * out);
      launch("fractional_max_pool", fractional_output_kernel<T>, grid, f, count, samples,
             moved<T>(a.x, n * in), tap, y);
    }
  }
}

}  // namespace

void fractional_max_pool(const FractionalParams& a, void* stream) {
  dispatch_device_float(a.problem->dtype, "fractional_max_pool", [&](auto type) {
    run<typename decltype(type)::type>(a, static_cast<cudaStream_t>(stream));
  });
}

}  // namespace fastcnn::cuda
