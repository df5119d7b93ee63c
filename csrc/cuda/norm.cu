// Batch, group and instance norm over a matrix of rows and channels (common/norm.h), in three steps each way:
//   1. `partial`: sums over a chunk of rows for each channel. Neighbouring threads are neighbouring channels; eight rows
//      of threads share a chunk, and their results are merged in order.
//   2. `finish`: a thread per channel (or group) merges the chunks, in float64 and in order.
//   3. `apply`: element by element.
// The chunks are those of the CPU, so both devices need the same workspace; nothing is added atomically.
#include "cuda/dispatch.cuh"
#include "cuda/launch.cuh"
#include "cuda/norm.h"
#include "cuda/vec.cuh"
#include "cuda/walk.cuh"

namespace fastcnn::cuda {
namespace {

constexpr int kLanes = 32, kRows = 8;     // of a block
constexpr int kAtOnce = 8;                // rows that a thread holds in registers
constexpr int kThreads = 128;             // of `finish`
constexpr int kRowsPerBlock = 8 * kRows;  // of `apply`

/// A value per channel; `missing` where there is none.
template <class T>
struct Channelwise {
  const T* data;
  int64_t stride;
  FC_METHOD Wide<T> get(int64_t c, Wide<T> missing) const {
    return data ? widen(load(data + c * stride)) : missing;
  }
};

struct Matrix {
  int64_t outer, rows, channels, groups, chunks, per_chunk;
  FastDivide per_group;
  FC_METHOD int64_t stat(int64_t o, int64_t c) const {
    return o * groups + per_group.quotient(static_cast<unsigned>(c));
  }
  /// Two rows of `channels` numbers for (outer index, chunk).
  FC_METHOD double* partial(double* p, int64_t o, int64_t chunk) const {
    return p + (o * chunks + chunk) * 2 * channels;
  }
};

// ---- forward -----------------------------------------------------------------------------------------------------

template <class T>
FC_KERNEL norm_moments_kernel(Matrix m, const T* x, double* partial) {
  using A = Wide<T>;
  FC_SHARED(double, shared, [3][kRows][kLanes]);
  const int lane = static_cast<int>(threadIdx.x), group = static_cast<int>(threadIdx.y);
  const int64_t c = int64_t{blockIdx.x} * kLanes + lane, o = blockIdx.z, chunk = blockIdx.y;
  const int64_t begin = chunk * m.per_chunk,
                end = begin + m.per_chunk < m.rows ? begin + m.per_chunk : m.rows;
  Moments mine;
  for (int64_t row = begin + group * kAtOnce; row < end && c < m.channels; row += kRows * kAtOnce) {
    // A few rows in registers: their mean, then squares about it. What rounding left of zero corrects both.
    A v[kAtOnce], center = 0, s1 = 0, s2 = 0;
    const int n = end - row < kAtOnce ? static_cast<int>(end - row) : kAtOnce;
    FC_UNROLL
    for (int i = 0; i < kAtOnce; ++i) {
      v[i] = i < n ? widen(load(x + (o * m.rows + row + i) * m.channels + c)) : A(0);
      center += v[i];
    }
    center /= static_cast<A>(n);
    FC_UNROLL
    for (int i = 0; i < kAtOnce; ++i) {
      const A d = i < n ? v[i] - center : A(0);
      s1 += d;
      s2 += d * d;
    }
    const double rest = static_cast<double>(s1) / n;
    mine.merge(n, static_cast<double>(center) + rest,
               static_cast<double>(s2) - static_cast<double>(s1) * rest);
  }
  store(&shared[0][group][lane], mine.count);
  store(&shared[1][group][lane], mine.mean);
  store(&shared[2][group][lane], mine.m2);
  __syncthreads();
  if (group != 0 || c >= m.channels) return;
  for (int g = 1; g < kRows; ++g)
    mine.merge(load(&shared[0][g][lane]), load(&shared[1][g][lane]), load(&shared[2][g][lane]));
  double* out = m.partial(partial, o, chunk);
  store(out + c, mine.mean);
  store(out + m.channels + c, mine.m2);
}

FC_DEVICE Moments moments_of(const Matrix& m, double* partial, int64_t o, int64_t g) {
  Moments total;
  const int64_t per_group = m.per_group.divisor;
  for (int64_t chunk = 0; chunk < m.chunks; ++chunk) {
    const double* sums = m.partial(partial, o, chunk);
    int64_t rows = m.rows - chunk * m.per_chunk;
    rows = rows < 0 ? 0 : (rows < m.per_chunk ? rows : m.per_chunk);
    for (int64_t c = g * per_group; c < (g + 1) * per_group; ++c) {
      total.merge(static_cast<double>(rows), load(sums + c), load(sums + m.channels + c));
    }
  }
  return total;
}

/// A thread per group: its statistics for each outer index, and the running ones.
template <class T>
FC_KERNEL norm_finish_kernel(Matrix m, double* partial, Wide<T>* stats, double eps, T* running_mean,
                             int64_t mean_stride, T* running_var, int64_t var_stride, double momentum) {
  using A = Wide<T>;
  const int64_t g = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (g >= m.groups) return;
  double new_mean = 0, new_var = 0;  // averages over the outer index (instance norm), unbiased
  for (int64_t o = 0; o < m.outer; ++o) {
    const Moments total = moments_of(m, partial, o, g);
    store(stats + o * m.groups + g, static_cast<A>(total.mean));
    store(stats + (m.outer + o) * m.groups + g, static_cast<A>(1 / sqrt(total.m2 / total.count + eps)));
    new_mean += total.mean / static_cast<double>(m.outer);
    new_var += total.m2 / (total.count - 1) / static_cast<double>(m.outer);
  }
  if (!running_mean || m.rows == 0) return;  // an empty batch says nothing about the data
  T *const mean = running_mean + g * mean_stride, *const var = running_var + g * var_stride;
  store(mean, Narrow<T>::of(static_cast<A>((1 - momentum) * static_cast<double>(widen(load(mean))) +
                                           momentum * new_mean)));
  store(var, Narrow<T>::of(static_cast<A>((1 - momentum) * static_cast<double>(widen(load(var))) +
                                          momentum * new_var)));
}

/// Statistics that are given: the running values.
template <class T>
FC_KERNEL norm_given_kernel(int64_t channels, Wide<T>* stats, double eps, Channelwise<T> mean,
                            Channelwise<T> var) {
  using A = Wide<T>;
  const int64_t c = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (c >= channels) return;
  store(stats + c, mean.get(c, 0));
  store(stats + channels + c, static_cast<A>(1 / sqrt(static_cast<double>(var.get(c, 0)) + eps)));
}

// What follows in the same pass, and whether the slope passes at an output of that value: relu and relu6.
template <class A>
FC_DEVICE A activated(NormActivation f, A v) {
  if (f == NormActivation::none) return v;
  if (v < 0) return A(0);
  return f == NormActivation::relu6 && v > 6 ? A(6) : v;
}
template <class A>
FC_DEVICE A slope(NormActivation f, A dy, A y) {
  if (f == NormActivation::relu) return y <= 0 ? A(0) : dy;
  if (f == NormActivation::relu6) return y > 0 && y < 6 ? dy : A(0);
  return dy;
}

/// f.begin(outer index, channel), then f(element) for the block's rows of that channel.
template <class F>
FC_KERNEL norm_apply_kernel(F f) {
  const Matrix& m = f.m;
  const int64_t c = int64_t{blockIdx.x} * kLanes + threadIdx.x, o = blockIdx.z;
  if (c >= m.channels) return;
  const int64_t begin = int64_t{blockIdx.y} * kRowsPerBlock, end = begin + kRowsPerBlock;
  f.begin(o, c);
  for (int64_t row = begin + threadIdx.y; row < end && row < m.rows; row += kRows)
    f((o * m.rows + row) * m.channels + c);
}

template <class T>
struct Apply {
  Matrix m;
  const T *x, *residual;
  T* y;
  const Wide<T>* stats;
  Channelwise<T> weight, bias;
  NormActivation activation;
  Wide<T> mean, scale, shift;
  FC_METHOD void begin(int64_t o, int64_t c) {
    const int64_t s = m.stat(o, c);
    mean = load(stats + s);
    scale = weight.get(c, 1) * load(stats + m.outer * m.groups + s);
    shift = bias.get(c, 0);
  }
  FC_METHOD void operator()(int64_t i) const {
    using A = Wide<T>;
    A v = widen(Narrow<T>::of((widen(load(x + i)) - mean) * scale + shift));
    if (residual) v = widen(Narrow<T>::of(v + widen(load(residual + i))));
    store(y + i, Narrow<T>::of(activated(activation, v)));
  }
};

// ---- backward ----------------------------------------------------------------------------------------------------

template <class T>
struct Gradient {
  Matrix m;
  const T *x, *dy, *y;  // y: only where a residual was added before an activation
  T *dx, *dresidual;
  const Wide<T>* stats;
  Channelwise<T> weight, bias;
  NormActivation activation;
  bool given_stats;
  double size;  // of a group
  double* partial;
  Wide<T> mean, invstd, scale, shift, q, offset;

  FC_METHOD void begin_sums(int64_t o, int64_t c) {
    const int64_t s = m.stat(o, c);
    mean = load(stats + s);
    invstd = load(stats + m.outer * m.groups + s);
    scale = weight.get(c, 1) * invstd;
    shift = bias.get(c, 0);
  }
  /// The gradient behind the activation.
  FC_METHOD Wide<T> open(int64_t i, Wide<T> distance) const {
    const Wide<T> g = widen(load(dy + i));
    if (y) return slope(activation, g, widen(load(y + i)));
    return slope(activation, g, widen(Narrow<T>::of(distance * scale + shift)));
  }
  FC_METHOD void begin(int64_t o, int64_t c) {
    using A = Wide<T>;
    begin_sums(o, c);
    q = offset = 0;
    if (given_stats) return;
    const int64_t per_group = m.per_group.divisor,
                  first = m.per_group.quotient(static_cast<unsigned>(c)) * per_group;
    const double* sums = m.partial(partial, o, 0);
    const double inv = static_cast<double>(invstd) / size;
    q = static_cast<A>(-inv * static_cast<double>(invstd) * load(sums + m.channels + first));
    offset = static_cast<A>(-inv * load(sums + first));
  }
  FC_METHOD void operator()(int64_t i) const {
    const Wide<T> d = widen(load(x + i)) - mean;
    const Wide<T> g = y ? widen(load(dresidual + i)) : open(i, d);  // dresidual is masked already
    store(dx + i, Narrow<T>::of(g * scale + (d * q + offset)));
  }
};

/// Sums of dy and of dy times the normalised x over a chunk; with y, dy behind the activation goes to dresidual.
template <class T>
FC_KERNEL norm_gradient_sums_kernel(Gradient<T> p) {
  FC_SHARED(double, shared, [2][kRows][kLanes]);
  const Matrix& m = p.m;
  const int lane = static_cast<int>(threadIdx.x), group = static_cast<int>(threadIdx.y);
  const int64_t c = int64_t{blockIdx.x} * kLanes + lane, o = blockIdx.z, chunk = blockIdx.y;
  const int64_t begin = chunk * m.per_chunk,
                end = begin + m.per_chunk < m.rows ? begin + m.per_chunk : m.rows;
  double s1 = 0, s2 = 0;
  if (c < m.channels) p.begin_sums(o, c);
  for (int64_t row = begin + group * kAtOnce; row < end && c < m.channels; row += kRows * kAtOnce) {
    Wide<T> a = 0, b = 0;
    for (int64_t r = row; r < row + kAtOnce && r < end; ++r) {
      const int64_t i = (o * m.rows + r) * m.channels + c;
      const Wide<T> d = widen(load(p.x + i)) - p.mean, g = p.open(i, d);
      if (p.y) store(p.dresidual + i, Narrow<T>::of(g));
      a += g;
      b += g * (d * p.invstd);
    }
    s1 += static_cast<double>(a);
    s2 += static_cast<double>(b);
  }
  store(&shared[0][group][lane], s1);
  store(&shared[1][group][lane], s2);
  __syncthreads();
  if (group != 0 || c >= m.channels) return;
  for (int g = 1; g < kRows; ++g) {
    s1 += load(&shared[0][g][lane]);
    s2 += load(&shared[1][g][lane]);
  }
  double* out = m.partial(p.partial, o, chunk);
  store(out + c, s1);
  store(out + m.channels + c, s2);
}

/// A thread per channel: chunks are added into the first one, in order; then outer indices into dweight and dbias.
template <class T>
FC_KERNEL norm_gradient_finish_kernel(Matrix m, double* partial, T* dweight, T* dbias) {
  using A = Wide<T>;
  const int64_t c = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (c >= m.channels) return;
  double s1 = 0, s2 = 0;
  for (int64_t o = 0; o < m.outer; ++o) {
    double a = 0, b = 0;
    for (int64_t chunk = 0; chunk < m.chunks; ++chunk) {
      const double* more = m.partial(partial, o, chunk);
      a += load(more + c);
      b += load(more + m.channels + c);
    }
    double* sums = m.partial(partial, o, 0);
    store(sums + c, a);
    store(sums + m.channels + c, b);
    s1 += a;
    s2 += b;
  }
  if (dbias) store(dbias + c, Narrow<T>::of(static_cast<A>(s1)));
  if (dweight) store(dweight + c, Narrow<T>::of(static_cast<A>(s2)));
}

/// A thread per (outer index, group): sums of w s1 and w s2 over the group take the place of its first channel's.
template <class T>
FC_KERNEL norm_group_sums_kernel(Matrix m, double* partial, Channelwise<T> weight) {
  const int64_t g = int64_t{blockIdx.x} * kThreads + threadIdx.x, o = blockIdx.y;
  if (g >= m.groups) return;
  double s1 = 0, s2 = 0, *const sums = m.partial(partial, o, 0);
  const int64_t per_group = m.per_group.divisor;
  for (int64_t c = g * per_group; c < (g + 1) * per_group; ++c) {
    const double w = static_cast<double>(weight.get(c, 1));
    s1 += w * load(sums + c);
    s2 += w * load(sums + m.channels + c);
  }
  store(sums + g * per_group, s1);
  store(sums + m.channels + g * per_group, s2);
}

// ---- host --------------------------------------------------------------------------------------------------------

Matrix matrix_of(const NormProblem& p) {
  const int64_t chunks = p.chunks();
  FC_CHECK(p.outer <= 65535 && p.channels <= kMaxIndices, "norm: got ", p.outer, " samples of ", p.channels,
           " channels, expected at most 65535 and 2^30 on CUDA");
  return {p.outer,
          p.rows,
          p.channels,
          p.groups,
          chunks,
          ceil_div<int64_t>(p.rows, chunks),
          FastDivide(p.channels / p.groups)};
}
unsigned blocks_for(int64_t count, int64_t each) {
  return static_cast<unsigned>(ceil_div<int64_t>(count, each));
}

Grid over_chunks(const Matrix& m, cudaStream_t stream) {
  return {
      dim3(blocks_for(m.channels, kLanes), static_cast<unsigned>(m.chunks), static_cast<unsigned>(m.outer)),
      dim3(kLanes, kRows), stream};
}
Grid over_elements(const Matrix& m, cudaStream_t stream) {
  const int64_t down = ceil_div<int64_t>(m.rows, kRowsPerBlock);
  FC_CHECK(down <= 65535, "norm: got ", m.rows, " rows, expected at most ", 65535 * kRowsPerBlock,
           " on CUDA");
  return {dim3(blocks_for(m.channels, kLanes), static_cast<unsigned>(down), static_cast<unsigned>(m.outer)),
          dim3(kLanes, kRows), stream};
}

template <class T>
void forward(const NormForwardParams& a, cudaStream_t stream) {
  using A = Wide<T>;
  const Matrix m = matrix_of(a.problem);
  const double eps = a.problem.eps;
  A* stats = static_cast<A*>(a.stats);
  T *mean = static_cast<T*>(a.running_mean), *var = static_cast<T*>(a.running_var);
  const T* x = static_cast<const T*>(a.x);
  if (a.given_stats) {
    launch("norm", norm_given_kernel<T>, {dim3(blocks_for(m.channels, kThreads)), dim3(kThreads), stream},
           m.channels, stats, eps, Channelwise<T>{mean, a.running_mean_stride},
           Channelwise<T>{var, a.running_var_stride});
  } else {
    launch("norm", norm_moments_kernel<T>, over_chunks(m, stream), m, x, a.partial);
    launch("norm", norm_finish_kernel<T>, {dim3(blocks_for(m.groups, kThreads)), dim3(kThreads), stream}, m,
           a.partial, stats, eps, mean, a.running_mean_stride, var, a.running_var_stride, a.momentum);
  }
  Apply<T> f{};
  f.m = m;
  f.x = x;
  f.residual = static_cast<const T*>(a.residual);
  f.y = static_cast<T*>(a.y);
  f.stats = stats;
  f.weight = {static_cast<const T*>(a.weight), a.weight_stride};
  f.bias = {static_cast<const T*>(a.bias), a.bias_stride};
  f.activation = a.activation;
  launch("norm", norm_apply_kernel<Apply<T>>, over_elements(m, stream), f);
}

template <class T>
void backward(const NormBackwardParams& a, cudaStream_t stream) {
  using A = Wide<T>;
  Gradient<T> f{};
  f.m = matrix_of(a.problem);
  const Matrix& m = f.m;
  f.x = static_cast<const T*>(a.x);
  f.dy = static_cast<const T*>(a.dy);
  f.y = static_cast<const T*>(a.y);
  f.dx = static_cast<T*>(a.dx);
  f.dresidual = static_cast<T*>(a.dresidual);
  f.stats = static_cast<const A*>(a.stats);
  f.weight = {static_cast<const T*>(a.weight), a.weight_stride};
  f.bias = {static_cast<const T*>(a.bias), a.bias_stride};
  f.activation = a.activation;
  f.given_stats = a.given_stats;
  f.size = static_cast<double>(a.problem.group_size());
  f.partial = a.partial;
  if (a.dweight || a.dbias || a.y || !a.given_stats) {
    launch("norm", norm_gradient_sums_kernel<T>, over_chunks(m, stream), f);
    launch("norm", norm_gradient_finish_kernel<T>,
           {dim3(blocks_for(m.channels, kThreads)), dim3(kThreads), stream}, m, a.partial,
           static_cast<T*>(a.dweight), static_cast<T*>(a.dbias));
  }
  if (!a.dx) return;
  if (!a.given_stats) {
    launch("norm", norm_group_sums_kernel<T>,
           {dim3(blocks_for(m.groups, kThreads), static_cast<unsigned>(m.outer)), dim3(kThreads), stream}, m,
           a.partial, f.weight);
  }
  launch("norm", norm_apply_kernel<Gradient<T>>, over_elements(m, stream), f);
}

}  // namespace

void norm_forward(const NormForwardParams& params, void* stream) {
  dispatch_device_float(params.problem.dtype, "norm", [&](auto type) {
    forward<typename decltype(type)::type>(params, static_cast<cudaStream_t>(stream));
  });
}
void norm_backward(const NormBackwardParams& params, void* stream) {
  dispatch_device_float(params.problem.dtype, "norm", [&](auto type) {
    backward<typename decltype(type)::type>(params, static_cast<cudaStream_t>(stream));
  });
}

}  // namespace fastcnn::cuda
