// Fractional max pooling and max unpooling. A task is one sample and a block of channels, whose windows or positions
// it goes through in order; every channel has its own, so lanes have nothing in common but the memory lines.
#include <algorithm>
#include <cstring>
#include <limits>
#include <vector>

#include "cpu/pool.h"
#include "cpu/thread_pool.h"

namespace fastcnn::cpu {

namespace {

constexpr int64_t kBlock = 16;  // channels per task: a line of floats

// Calls f(n, first channel, channels).
template <class F>
void for_each_block(int64_t N, int64_t C, F&& f) {
  const int64_t blocks = (C + kBlock - 1) / kBlock;
  parallel_for(N * blocks, [&](int64_t task, int) {
    const int64_t c = task % blocks * kBlock;
    f(task / blocks, c, int(std::min(kBlock, C - c)));
  });
}

// Starts of the windows of a block: at(axis, o, channel of the block).
struct Starts {
  std::vector<int64_t> of[3];
  int64_t at(int axis, int64_t o, int c) const { return of[axis][size_t(o * kBlock + c)]; }

  Starts(const FractionalParams& a, int64_t n, int64_t c0, int width) {
    const FractionalProblem& p = *a.problem;
    for (int axis = 0; axis < 3; ++axis) {
      const int missing = 3 - p.spatial;
      const int place = p.spatial == 3 ? axis : 2 - axis;  // two axes are stored as width, height
      of[axis].assign(size_t(p.out[axis] * kBlock), 0);
      if (axis < missing) continue;
      for (int c = 0; c < width; ++c) {
        const double u = a.samples[(n * p.C + c0 + c) * p.spatial + place];
        for (int64_t o = 0; o < p.out[axis]; ++o) of[axis][size_t(o * kBlock + c)] = p.start(axis, o, u);
      }
    }
  }
};

template <class P>
P load_tap(const void* tap, int64_t at) {
  return static_cast<const P*>(tap)[at];
}

template <class T, class P>
void outputs(const FractionalParams& a) {
  using A = Accumulator<T>;
  const FractionalProblem& p = *a.problem;
  const int64_t cells = p.in[0] * p.in[1] * p.in[2], positions = p.out[0] * p.out[1] * p.out[2];
  const T* x = static_cast<const T*>(a.x);
  P* tap = static_cast<P*>(a.tap);
  for_each_block(p.N, p.C, [&](int64_t n, int64_t c0, int width) {
    const Starts starts(a, n, c0, width);
    for (int64_t o = 0; o < positions; ++o)
      for (int c = 0; c < width; ++c) {
        const int64_t at = (n * positions + o) * p.C + c0 + c;
        const int64_t s[3] = {starts.at(0, o / (p.out[1] * p.out[2]), c),
                              starts.at(1, o / p.out[2] % p.out[1], c), starts.at(2, o % p.out[2], c)};
        const auto cell_of = [&](int64_t code) {
          const int64_t d = s[0] + code / (p.window[1] * p.window[2]),
                        h = s[1] + code / p.window[2] % p.window[1];
          return (d * p.in[1] + h) * p.in[2] + s[2] + code % p.window[2];
        };
        const auto element = [&](int64_t code) { return (n * cells + cell_of(code)) * p.C + c0 + c; };
        if (a.pass == FractionalParams::indices) {
          static_cast<int64_t*>(a.y)[at] = cell_of(int64_t(tap[at]));
        } else if (a.pass == FractionalParams::gather) {
          static_cast<T*>(a.y)[at] = x[element(int64_t(tap[at]))];
        } else {  // NaN wins, the last one; among equals the first
          int64_t won = 0;
          A best = A(x[element(0)]);
          for (int64_t code = 1; code < p.taps(); ++code) {
            const A v = A(x[element(code)]);
            if (v > best || v != v) best = v, won = code;
          }
          static_cast<T*>(a.y)[at] = T(best);
          if (tap) tap[at] = P(won);
        }
      }
  });
}

// By input cells: each adds up the windows that it won, in order.
template <class T, class P>
void backward(const FractionalParams& a) {
  using A = Accumulator<T>;
  const FractionalProblem& p = *a.problem;
  const int64_t cells = p.in[0] * p.in[1] * p.in[2], positions = p.out[0] * p.out[1] * p.out[2];
  const T* dy = static_cast<const T*>(a.x);
  for_each_block(p.N, p.C, [&](int64_t n, int64_t c0, int width) {
    const Starts starts(a, n, c0, width);
    for (int c = 0; c < width; ++c) {
      std::vector<int64_t> from[3], to[3];  // windows that cover a cell: from .. to - 1, for starts ascend
      for (int axis = 0; axis < 3; ++axis) {
        from[axis].assign(size_t(p.in[axis]), p.out[axis]);
        to[axis].assign(size_t(p.in[axis]), 0);
        for (int64_t o = 0; o < p.out[axis]; ++o)
          for (int64_t t = 0; t < p.window[axis]; ++t) {
            const size_t cell = size_t(starts.at(axis, o, c) + t);
            from[axis][cell] = std::min(from[axis][cell], o);
            to[axis][cell] = o + 1;
          }
      }
      for (int64_t cell = 0; cell < cells; ++cell) {
        const int64_t at[3] = {cell / (p.in[1] * p.in[2]), cell / p.in[2] % p.in[1], cell % p.in[2]};
        A sum = A(0);
        for (int64_t d = from[0][size_t(at[0])]; d < to[0][size_t(at[0])]; ++d)
          for (int64_t h = from[1][size_t(at[1])]; h < to[1][size_t(at[1])]; ++h)
            for (int64_t w = from[2][size_t(at[2])]; w < to[2][size_t(at[2])]; ++w) {
              const int64_t code =
                  ((at[0] - starts.at(0, d, c)) * p.window[1] + at[1] - starts.at(1, h, c)) * p.window[2] +
                  at[2] - starts.at(2, w, c);
              const int64_t o = (n * positions + (d * p.out[1] + h) * p.out[2] + w) * p.C + c0 + c;
              if (int64_t(load_tap<P>(a.tap, o)) == code) sum += A(dy[o]);
            }
        static_cast<T*>(a.y)[(n * cells + cell) * p.C + c0 + c] = T(sum);
      }
    }
  });
}

template <class T>
void unpool(const UnpoolParams& a) {
  const T* in = static_cast<const T*>(a.in);
  T* out = static_cast<T*>(a.out);
  for_each_block(a.N, a.C, [&](int64_t n, int64_t c0, int width) {
    const size_t bytes = a.backward ? 1 : sizeof(T);
    char* plane = a.backward ? reinterpret_cast<char*>(a.taken) : static_cast<char*>(a.out);
    for (int64_t cell = 0; cell < a.cells; ++cell)
      std::memset(plane + size_t((n * a.cells + cell) * a.C + c0) * bytes, 0, size_t(width) * bytes);
    for (int64_t i = 0; i < a.positions; ++i) {
      const int64_t o = a.backward ? a.positions - 1 - i : i;  // backwards: who comes first wrote last
      for (int c = 0; c < width; ++c) {
        const int64_t at = (n * a.positions + o) * a.C + c0 + c, cell = a.index[at];
        if (cell < 0 || cell >= a.cells)
          fail<IndexError>(a.op, ": found an invalid max index: ", cell, " at sample ", n, ", channel ",
                           c0 + c, ", position ", o, ", expected 0 to ", a.cells - 1,
                           "; use the output_size of the pooled input");
        const int64_t element = (n * a.cells + cell) * a.C + c0 + c;
        if (!a.backward) {
          out[element] = in[at];
        } else {
          out[at] = a.taken[element] ? T(Accumulator<T>(0)) : in[element];
          a.taken[element] = 1;
        }
      }
    }
  });
}

}  // namespace

void fractional_max_pool(const FractionalParams& a) {
  const bool narrow = a.problem->tap_dtype() == DType::uint8;
  dispatch_float(a.problem->dtype, "fractional_max_pool", [&](auto type) {
    using T = typename decltype(type)::type;
    if (a.pass == FractionalParams::backward)
      narrow ? backward<T, uint8_t>(a) : backward<T, int32_t>(a);
    else
      narrow ? outputs<T, uint8_t>(a) : outputs<T, int32_t>(a);
  });
}

void max_unpool(const UnpoolParams& a) {
  dispatch_float(a.dtype, a.op, [&](auto type) { unpool<typename decltype(type)::type>(a); });
}

}  // namespace fastcnn::cpu
