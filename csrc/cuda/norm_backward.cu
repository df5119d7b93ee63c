// Batch, group and instance norm, backward; the steps are in norm.cuh.
#include "cuda/norm.cuh"

namespace fastcnn::cuda {
namespace {

/// Whether the slope of relu or relu6 passes at an output of that value.
template <class A>
FC_DEVICE A slope(NormActivation f, A dy, A y) {
  if (f == NormActivation::relu) return y <= 0 ? A(0) : dy;
  if (f == NormActivation::relu6) return y > 0 && y < 6 ? dy : A(0);
  return dy;
}

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

void norm_backward(const NormBackwardParams& params, void* stream) {
  dispatch_device_float(params.problem.dtype, "norm", [&](auto type) {
    backward<typename decltype(type)::type>(params, static_cast<cudaStream_t>(stream));
  });
}

}  // namespace fastcnn::cuda
