#include "cpu/norm.h"

#include <algorithm>
#include <cmath>

#include "cpu/isa.h"
#include "cpu/stream.h"
#include "cpu/thread_pool.h"

namespace fastcnn::cpu {

namespace {

#include "cpu/kernels/norm.inl"

template <class T>
NormKernels loops() {
  using A = Accumulator<T>;
  if constexpr (std::is_same_v<T, float>) return kernels().norm;
  return norm_kernels<T, A>();
}

template <class T>
struct Channelwise {  // weight, bias: `missing` where there is none
  const T* data;
  int64_t stride;
  Accumulator<T> missing;
  Accumulator<T> operator[](int64_t c) const { return data ? Accumulator<T>(data[c * stride]) : missing; }
};

// Calls f(outer index, chunk, first row, rows, first channel, channels) for tiles of the matrix. A task is one chunk.
template <class F>
void for_each_tile(const NormProblem& p, F&& f) {
  const int64_t chunks = p.chunks(), per_chunk = (p.rows + chunks - 1) / chunks;
  parallel_for(p.outer * chunks, [&](int64_t task, int) {
    const int64_t o = task / chunks, chunk = task % chunks;
    const int64_t first = std::min(chunk * per_chunk, p.rows), rows = std::min(per_chunk, p.rows - first);
    for (int64_t c = 0; c < p.channels; c += kNormTile)
      f(o, chunk, first, rows, c, int(std::min<int64_t>(kNormTile, p.channels - c)));
  });
}

// The partial sums of (outer index, chunk): two rows of `channels`.
double* partial_of(double* partial, const NormProblem& p, int64_t o, int64_t chunk) {
  return partial + (o * p.chunks() + chunk) * 2 * p.channels;
}

// How far ahead rows are fetched, in elements: some KB, whole rows; 0 where a cache may hold x and dy.
template <class T>
int64_t fetched_ahead(const NormProblem& p) {
  constexpr int64_t kFetchBytes = 8192, kNearBytes = int64_t(4) << 20;
  const int64_t row = p.channels * int64_t(sizeof(T)), bytes = p.outer * p.rows * row;
  return 2 * bytes > kNearBytes ? std::max<int64_t>(1, kFetchBytes / row) * p.channels : 0;
}

template <class T>
bool streams(const NormProblem& p, const void* y, const void* x) {
  return std::is_same_v<T, float> && y != x &&
         p.outer * p.rows * p.channels * int64_t(sizeof(T)) >= kStreamBytes;
}

template <class T>
void forward(const NormForwardParams& a) {
  using A = Accumulator<T>;
  const NormProblem& p = a.problem;
  const NormKernels k = loops<T>();
  const int64_t per_group = p.channels / p.groups, stats_count = p.outer * p.groups;
  const int64_t ahead = fetched_ahead<T>(p);
  A *mean = static_cast<A*>(a.stats), *invstd = mean + stats_count;
  T *running_mean = static_cast<T*>(a.running_mean), *running_var = static_cast<T*>(a.running_var);
  const T* x = static_cast<const T*>(a.x);

  if (a.given_stats) {
    for (int64_t c = 0; c < p.channels; ++c) {
      mean[c] = A(running_mean[c * a.running_mean_stride]);
      invstd[c] = A(1 / std::sqrt(double(A(running_var[c * a.running_var_stride])) + p.eps));
    }
  } else {
    for_each_tile(p, [&](int64_t o, int64_t chunk, int64_t first, int64_t rows, int64_t c, int width) {
      double* sums = partial_of(a.partial, p, o, chunk);
      k.moments(x + (o * p.rows + first) * p.channels + c, rows, width, p.channels, ahead, sums + c,
                sums + p.channels + c);
    });
    const int64_t chunks = p.chunks(), per_chunk = (p.rows + chunks - 1) / chunks;
    const auto moments_of = [&](int64_t o, int64_t g) {
      Moments total;
      for (int64_t chunk = 0; chunk < chunks; ++chunk) {
        const double* sums = partial_of(a.partial, p, o, chunk);
        const int64_t rows = std::max<int64_t>(std::min(per_chunk, p.rows - chunk * per_chunk), 0);
        for (int64_t c = g * per_group; c < (g + 1) * per_group; ++c)
          total.merge(double(rows), sums[c], sums[p.channels + c]);
      }
      return total;
    };
    parallel_for((stats_count + 63) / 64, [&](int64_t task, int) {
      for (int64_t s = task * 64; s < std::min(task * 64 + 64, stats_count); ++s) {
        const Moments total = moments_of(s / p.groups, s % p.groups);
        mean[s] = A(total.mean);
        invstd[s] = A(1 / std::sqrt(total.m2 / total.count + p.eps));
      }
    });
    if (running_mean && p.outer * p.rows > 0) {  // an empty batch says nothing about the data
      const double momentum = a.momentum, samples = double(p.outer);
      parallel_for((p.groups + 63) / 64, [&](int64_t task, int) {
        for (int64_t g = task * 64; g < std::min(task * 64 + 64, p.groups); ++g) {
          double new_mean = 0, new_var = 0;  // averages over the outer index (instance norm), unbiased
          for (int64_t o = 0; o < p.outer; ++o) {
            const Moments total = moments_of(o, g);
            new_mean += total.mean / samples;
            new_var += total.m2 / (total.count - 1) / samples;
          }
          T &m = running_mean[g * a.running_mean_stride], &v = running_var[g * a.running_var_stride];
          m = T(A((1 - momentum) * double(A(m)) + momentum * new_mean));
          v = T(A((1 - momentum) * double(A(v)) + momentum * new_var));
        }
      });
    }
  }

  const bool stream = streams<T>(p, a.y, a.x) && a.y != a.residual;
  const Channelwise<T> weight{static_cast<const T*>(a.weight), a.weight_stride, A(1)};
  const Channelwise<T> bias{static_cast<const T*>(a.bias), a.bias_stride, A(0)};
  for_each_tile(p, [&](int64_t o, int64_t, int64_t first, int64_t rows, int64_t c0, int width) {
    A m[kNormTile], scale[kNormTile], shift[kNormTile];
    for (int i = 0; i < width; ++i) {
      const int64_t s = o * p.groups + (c0 + i) / per_group;
      m[i] = mean[s];
      scale[i] = weight[c0 + i] * invstd[s];
      shift[i] = bias[c0 + i];
    }
    const int64_t at = (o * p.rows + first) * p.channels + c0;
    const T* residual = a.residual ? static_cast<const T*>(a.residual) + at : nullptr;
    k.apply[int(a.activation)](static_cast<T*>(a.y) + at, x + at, residual, rows, width, p.channels,
                               {m, nullptr, scale, shift, nullptr, nullptr, stream, 0});
  });
}

template <class T>
void backward(const NormBackwardParams& a) {
  using A = Accumulator<T>;
  const NormProblem& p = a.problem;
  const NormKernels k = loops<T>();
  const int64_t per_group = p.channels / p.groups, stats_count = p.outer * p.groups, chunks = p.chunks();
  const int64_t ahead = fetched_ahead<T>(p);
  const A *mean = static_cast<const A*>(a.stats), *invstd = mean + stats_count;
  const T *x = static_cast<const T*>(a.x), *dy = static_cast<const T*>(a.dy);
  const T* y = static_cast<const T*>(a.y);
  T* dresidual = static_cast<T*>(a.dresidual);
  const Channelwise<T> weight{static_cast<const T*>(a.weight), a.weight_stride, A(1)};
  const Channelwise<T> bias{static_cast<const T*>(a.bias), a.bias_stride, A(0)};
  T *dweight = static_cast<T*>(a.dweight), *dbias = static_cast<T*>(a.dbias);

  if (dweight || dbias || y || !a.given_stats) {
    for_each_tile(p, [&](int64_t o, int64_t chunk, int64_t first, int64_t rows, int64_t c0, int width) {
      A m[kNormTile], inv[kNormTile], scale[kNormTile], shift[kNormTile];
      for (int i = 0; i < width; ++i) {
        const int64_t s = o * p.groups + (c0 + i) / per_group;
        m[i] = mean[s];
        inv[i] = invstd[s];
        scale[i] = weight[c0 + i] * invstd[s];
        shift[i] = bias[c0 + i];
      }
      const int64_t at = (o * p.rows + first) * p.channels + c0;
      double* sums = partial_of(a.partial, p, o, chunk);
      k.gradient_sums[int(a.activation)](
          x + at, dy + at, y ? y + at : nullptr, y ? dresidual + at : nullptr, rows, width, p.channels,
          {m, inv, scale, shift, nullptr, nullptr, false, ahead}, sums + c0, sums + p.channels + c0);
    });
    // Chunks are added into the first one, in order; then outer indices into dweight and dbias.
    parallel_for((p.channels + 63) / 64, [&](int64_t task, int) {
      for (int64_t c = task * 64; c < std::min(task * 64 + 64, p.channels); ++c) {
        double s1 = 0, s2 = 0;
        for (int64_t o = 0; o < p.outer; ++o) {
          double* sums = partial_of(a.partial, p, o, 0);
          for (int64_t chunk = 1; chunk < chunks; ++chunk) {
            const double* more = partial_of(a.partial, p, o, chunk);
            sums[c] += more[c];
            sums[p.channels + c] += more[p.channels + c];
          }
          s1 += sums[c];
          s2 += sums[p.channels + c];
        }
        if (dbias) dbias[c] = T(A(s1));
        if (dweight) dweight[c] = T(A(s2));
      }
    });
  }
  if (!a.dx) return;
  if (!a.given_stats) {
    // Sums over a group of w * s1 and w * s2 replace the group's first channel's.
    parallel_for(p.outer, [&](int64_t o, int) {
      double* sums = partial_of(a.partial, p, o, 0);
      for (int64_t g = 0; g < p.groups; ++g) {
        double s1 = 0, s2 = 0;
        for (int64_t c = g * per_group; c < (g + 1) * per_group; ++c) {
          s1 += double(weight[c]) * sums[c];
          s2 += double(weight[c]) * sums[p.channels + c];
        }
        sums[g * per_group] = s1;
        sums[p.channels + g * per_group] = s2;
      }
    });
  }
  const bool stream = streams<T>(p, a.dx, a.x) && a.dx != a.dy && a.dx != a.dresidual;
  const double size = double(p.group_size());
  const int open = y ? 0 : int(a.activation);  // dresidual is masked already
  for_each_tile(p, [&](int64_t o, int64_t, int64_t first, int64_t rows, int64_t c0, int width) {
    A m[kNormTile], scale[kNormTile], shift[kNormTile], q[kNormTile], offset[kNormTile];
    const double* sums = a.given_stats ? nullptr : partial_of(a.partial, p, o, 0);
    for (int i = 0; i < width; ++i) {
      const int64_t g = (c0 + i) / per_group, s = o * p.groups + g;
      m[i] = mean[s];
      scale[i] = weight[c0 + i] * invstd[s];
      const double inv = double(invstd[s]) / size;
      q[i] = a.given_stats ? A(0) : A(-inv * double(invstd[s]) * sums[p.channels + g * per_group]);
      shift[i] = bias[c0 + i];
      offset[i] = a.given_stats ? A(0) : A(-inv * sums[g * per_group]);
    }
    const int64_t at = (o * p.rows + first) * p.channels + c0;
    k.apply_gradient[open](static_cast<T*>(a.dx) + at, x + at, (y ? dresidual : dy) + at, rows, width,
                           p.channels, {m, nullptr, scale, shift, q, offset, stream, ahead});
  });
}

}  // namespace

void norm_forward(const NormForwardParams& params) {
  dispatch_float(params.problem.dtype, "norm",
                 [&](auto type) { forward<typename decltype(type)::type>(params); });
}
void norm_backward(const NormBackwardParams& params) {
  dispatch_float(params.problem.dtype, "norm",
                 [&](auto type) { backward<typename decltype(type)::type>(params); });
}

}  // namespace fastcnn::cpu
