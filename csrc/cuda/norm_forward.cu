// Batch, group and instance norm, forward; the steps are in norm.cuh.
#include "cuda/norm.cuh"

namespace fastcnn::cuda {
namespace {

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

/// What follows in the same pass: relu or relu6.
template <class A>
FC_DEVICE A activated(NormActivation f, A v) {
  if (f == NormActivation::none) return v;
  if (v < 0) return A(0);
  return f == NormActivation::relu6 && v > 6 ? A(6) : v;
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

}  // namespace

void norm_forward(const NormForwardParams& params, void* stream) {
  dispatch_device_float(params.problem.dtype, "norm", [&](auto type) {
    forward<typename decltype(type)::type>(params, static_cast<cudaStream_t>(stream));
  });
}

}  // namespace fastcnn::cuda
