#include "cpu/dropout.h"

#include <algorithm>

#include "cpu/isa.h"
#include "cpu/stream.h"
#include "cpu/thread_pool.h"

namespace fastcnn::cpu {

namespace {

#include "cpu/kernels/dropout.inl"

constexpr int64_t kTaskElems = 16384;

template <class T>
DropoutKernels loops() {
  DropoutKernels k = kernels().dropout;
  if constexpr (!std::is_same_v<T, float>) k.tile = dropout_tile<T, Accumulator<T>>;
  return k;
}

template <class T>
bool streams(const DropoutParams& p, int64_t elements) {
  return std::is_same_v<T, float> && p.y != p.x && elements * int64_t(sizeof(T)) >= kStreamBytes;
}

int64_t product(const int64_t* shape, int from, int to) {
  int64_t n = 1;
  for (int i = from; i < to; ++i) n *= shape[i];
  return n;
}

KeepBitsSource source_of(const RandomKey& key, int64_t sample, uint32_t threshold) {
  const PhiloxCounter c = philox_counter(key.call, key.first_sample + uint64_t(sample), 0);
  return {c.c1, c.c2, c.c3, uint32_t(key.seed), uint32_t(key.seed >> 32), threshold};
}

// ---- x in logical order, one draw per element -----------------------------------------------------------------

template <class T>
void dropout_contiguous(const DropoutParams& p) {
  const DropoutKernels k = loops<T>();
  const DropoutValues values{p.scale, p.shift, p.dropped};
  const int64_t samples = p.ndim ? p.shape[0] : 1, size = product(p.shape, 1, p.ndim);
  const bool stream = streams<T>(p, samples * size);
  const int64_t pieces = (size + kTaskElems - 1) / kTaskElems;       // of one large sample
  const int64_t per_task = std::max<int64_t>(kTaskElems / size, 1);  // or several small samples
  const int64_t sample_tasks = (samples + per_task - 1) / per_task;
  parallel_for(sample_tasks * pieces, [&](int64_t task, int) {
    const int64_t begin = task % pieces * kTaskElems, end = std::min(begin + kTaskElems, size);
    const int64_t first = task / pieces * per_task, last = std::min(first + per_task, samples);
    for (int64_t n = first; n < last; ++n) {
      const KeepBitsSource source = source_of(p.key, n, p.threshold);
      T* y = static_cast<T*>(p.y) + n * size;
      const T* x = static_cast<const T*>(p.x) + n * size;
      if constexpr (std::is_same_v<T, float>) {
        k.run(y + begin, x + begin, begin / 8, end - begin, source, values, stream);
      } else {
        constexpr int kRun = 128;  // blocks at a time
        uint8_t bits[kRun];
        for (int64_t i = begin; i < end; i += 8 * kRun) {
          const int64_t count = std::min<int64_t>(8 * kRun, end - i);
          k.keep_run(bits, i / 8, int((count + 7) / 8), source);
          dropout_run<T, Accumulator<T>>(y + i, x + i, bits, count, values);
        }
      }
    }
  });
}

// ---- channels-last memory: one draw per element, or one per channel --------------------------------------------

template <class T>
void dropout_channels_last(const DropoutParams& p, bool per_channel) {
  const DropoutKernels k = loops<T>();
  const DropoutValues values{p.scale, p.shift, p.dropped};
  constexpr int kRows = 32, kChannels = kDropoutChannels;
  const int64_t samples = p.shape[0], channels = p.shape[1], pixels = product(p.shape, 2, p.ndim);
  const bool stream = streams<T>(p, samples * channels * pixels);
  const int64_t rows_per_task = std::max<int64_t>(kTaskElems / (channels * kRows), 1) * kRows;
  const int64_t pieces = (pixels + rows_per_task - 1) / rows_per_task;
  parallel_for(samples * pieces, [&](int64_t task, int) {
    const int64_t n = task / pieces, begin = task % pieces * rows_per_task;
    const int64_t end = std::min(begin + rows_per_task, pixels);
    const KeepBitsSource source = source_of(p.key, n, p.threshold);
    uint32_t mask[kChannels];
    uint8_t bits[kChannels / 8];
    for (int64_t first = 0; first < channels; first += kChannels) {
      const int width = int(std::min<int64_t>(kChannels, channels - first));
      if (per_channel) {
        k.keep_run(bits, first / 8, (width + 7) / 8, source);
        for (int c = 0; c < width; ++c) mask[c] = bits[c / 8] >> (c % 8) & 1 ? ~0u : 0u;
      } else if constexpr (std::is_same_v<T, float>) {
        const int64_t at = (n * pixels + begin) * channels + first;
        k.columns(static_cast<T*>(p.y) + at, static_cast<const T*>(p.x) + at, first * pixels + begin, pixels,
                  int(end - begin), width, channels, source, values, stream);
        continue;
      }
      for (int64_t row = begin; row < end; row += kRows) {
        const int rows = int(std::min<int64_t>(kRows, end - row));
        if (!per_channel) k.keep_columns(mask, first * pixels + row, pixels, width, source);
        const int64_t at = (n * pixels + row) * channels + first;
        k.tile(static_cast<T*>(p.y) + at, static_cast<const T*>(p.x) + at, mask, rows, width, channels,
               values, stream);
      }
    }
  });
}

// ---- any strides, any mask shape --------------------------------------------------------------------------------

template <class T>
void dropout_strided(const DropoutParams& p) {
  using A = Accumulator<T>;
  const A scale = A(p.scale), shift = A(p.shift), dropped = A(p.dropped);
  const int64_t total = product(p.shape, 0, p.ndim);
  int64_t mask_strides[kMaxDims] = {};
  for (int64_t axis = p.ndim - 1, step = 1; axis >= 1; --axis) {
    mask_strides[axis] = p.mask_shape[axis] == 1 ? 0 : step;
    step *= p.mask_shape[axis];
  }
  const bool per_sample = p.ndim && p.mask_shape[0] > 1;
  parallel_for((total + kTaskElems - 1) / kTaskElems, [&](int64_t task, int) {
    const int64_t begin = task * kTaskElems, end = std::min(begin + kTaskElems, total);
    int64_t index[kMaxDims] = {};
    for (int64_t rest = begin, axis = p.ndim - 1; axis >= 0; --axis) {
      index[axis] = rest % p.shape[axis];
      rest /= p.shape[axis];
    }
    int64_t drawn_sample = -1, drawn_block = -1;
    PhiloxBlock draws{};
    for (int64_t i = begin; i < end; ++i) {
      int64_t x_at = 0, y_at = 0, position = 0;
      for (int axis = 0; axis < p.ndim; ++axis) {
        x_at += index[axis] * p.x_strides[axis];
        y_at += index[axis] * p.y_strides[axis];
        position += index[axis] * mask_strides[axis];
      }
      const int64_t sample = per_sample ? index[0] : 0;
      if (position / 8 != drawn_block || sample != drawn_sample) {
        drawn_block = position / 8;
        drawn_sample = sample;
        draws = philox(p.key, uint64_t(sample), uint64_t(drawn_block));
      }
      const bool keep = philox_half(draws, int(position % 8)) >= p.threshold;
      static_cast<T*>(p.y)[y_at] = T(keep ? A(static_cast<const T*>(p.x)[x_at]) * scale + shift : dropped);
      for (int axis = p.ndim - 1; axis >= 0 && ++index[axis] == p.shape[axis]; --axis) index[axis] = 0;
    }
  });
}

bool same_order(const DropoutParams& p, const Dims& strides) {
  for (int i = 0; i < p.ndim; ++i)
    if (p.shape[i] > 1 && (p.x_strides[i] != strides[i] || p.y_strides[i] != strides[i])) return false;
  return true;
}

}  // namespace

void dropout(const DropoutParams& p) {
  Dims shape;
  bool every_element = true, every_channel = p.ndim >= 3 && p.ndim <= 5;
  for (int i = 0; i < p.ndim; ++i) {
    shape.push_back(p.shape[i]);
    every_element = every_element && p.mask_shape[i] == p.shape[i];
    every_channel = every_channel && p.mask_shape[i] == (i < 2 ? p.shape[i] : 1);
  }
  dispatch_float(p.dtype, "dropout", [&](auto type) {
    using T = typename decltype(type)::type;
    if (every_element && same_order(p, contiguous_strides(shape))) return dropout_contiguous<T>(p);
    const bool image = p.ndim >= 3 && p.ndim <= 5 && same_order(p, channels_last_strides(shape));
    if (image && (every_element || every_channel)) return dropout_channels_last<T>(p, !every_element);
    dropout_strided<T>(p);
  });
}

// ---- DropConnect --------------------------------------------------------------------------------------------------

namespace {

template <class T>
struct DropConnect {
  using A = Accumulator<T>;
  const DropConnectParams& p;
  const T *x = static_cast<const T*>(p.x), *w = static_cast<const T*>(p.w), *y = static_cast<const T*>(p.y);
  T* out = static_cast<T*>(p.out);
  explicit DropConnect(const DropConnectParams& params) : p(params) {}

  // Calls f(i, keep) for the weights of row o in the mask of sample n.
  template <class F>
  void for_each_weight(int64_t n, int64_t o, F&& f) const {
    constexpr int kRun = 64;
    uint8_t bits[kRun];
    const KeepBitsSource source = source_of(p.key, n, p.threshold);
    int64_t position = o * p.in_features;
    const int64_t end = position + p.in_features;
    while (position < end) {
      const int64_t first = position / 8, until = std::min(end, (first + kRun) * 8);
      kernels().dropout.keep_run(bits, first, int((until + 7) / 8 - first), source);
      for (; position < until; ++position)
        f(position - o * p.in_features, bits[position / 8 - first] >> (position % 8) & 1);
    }
  }

  // y[n, o] = sum over i of x[n, i] w[o, i] keep, times scale
  void forward() const {
    parallel_for(p.samples, [&](int64_t n, int) {
      for (int64_t o = 0; o < p.out_features; ++o) {
        A sum = 0;
        for_each_weight(n, o, [&](int64_t i, bool keep) {
          if (keep) sum += A(x[n * p.in_features + i]) * A(w[o * p.in_features + i]);
        });
        out[n * p.out_features + o] = T(sum * A(p.scale));
      }
    });
  }
  // dx[n, i] = sum over o of dy[n, o] w[o, i] keep, times scale. Sums live in a tile on the stack, in A.
  void backward_input() const {
    constexpr int64_t kTile = 1024;
    const int64_t tiles = (p.in_features + kTile - 1) / kTile;
    parallel_for(p.samples * tiles, [&](int64_t task, int) {
      const int64_t n = task / tiles, begin = task % tiles * kTile,
                    end = std::min(begin + kTile, p.in_features);
      A sum[kTile] = {};
      for (int64_t o = 0; o < p.out_features; ++o) {
        const A dy = A(y[n * p.out_features + o]);
        for_each_weight(n, o, [&](int64_t i, bool keep) {
          if (keep && i >= begin && i < end) sum[i - begin] += dy * A(w[o * p.in_features + i]);
        });
      }
      for (int64_t i = begin; i < end; ++i) out[n * p.in_features + i] = T(sum[i - begin] * A(p.scale));
    });
  }
  // dw[o, i] = sum over n of dy[n, o] x[n, i] keep, times scale
  void backward_weight() const {
    constexpr int64_t kTile = 1024;
    const int64_t tiles = (p.in_features + kTile - 1) / kTile;
    parallel_for(p.out_features * tiles, [&](int64_t task, int) {
      const int64_t o = task / tiles, begin = task % tiles * kTile,
                    end = std::min(begin + kTile, p.in_features);
      A sum[kTile] = {};
      for (int64_t n = 0; n < p.samples; ++n) {
        const A dy = A(y[n * p.out_features + o]);
        for_each_weight(n, o, [&](int64_t i, bool keep) {
          if (keep && i >= begin && i < end) sum[i - begin] += dy * A(x[n * p.in_features + i]);
        });
      }
      for (int64_t i = begin; i < end; ++i) out[o * p.in_features + i] = T(sum[i - begin] * A(p.scale));
    });
  }
};

}  // namespace

void drop_connect(const DropConnectParams& p) {
  dispatch_float(p.dtype, "drop_connect", [&](auto type) {
    const DropConnect<typename decltype(type)::type> run(p);
    if (p.pass == DropConnectParams::forward) return run.forward();
    if (p.pass == DropConnectParams::backward_input) return run.backward_input();
    run.backward_weight();
  });
}

}  // namespace fastcnn::cpu
