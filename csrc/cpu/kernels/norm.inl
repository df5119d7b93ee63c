// Loops of the normalisations: lanes are channels, and the inner loops over them vectorise. T is the stored type, A
// the accumulator. Included once per instruction set (T = float) and by cpu/norm.cpp (the other dtypes).

/// Fetches what lies `ahead` elements behind a row, if anything: hardware does not see through passes that read several
/// arrays, and they are too long to run far ahead of memory by themselves. (Always inlined: a function that does nothing
/// but fetch is one without effect to GCC, which drops calls of it.)
template <class T>
[[gnu::always_inline]] inline void norm_fetch(const T* row, int channels, int64_t ahead) {
  if (!ahead) return;
  for (int c = 0; c < channels; c += 64 / int(sizeof(T))) __builtin_prefetch(row + c + ahead, 0, 3);
}

/// ROWS rows into the sums of each channel, in order: sums are loaded and stored once for all of them. With `center`, into
/// those of deviations from it and of their squares.
template <int ROWS, class T, class A>
inline void norm_sum(const T* x, int64_t step, int channels, A* sum) {
#pragma GCC ivdep
  for (int c = 0; c < channels; ++c) {
    A s = sum[c];
#pragma GCC unroll 4
    for (int i = 0; i < ROWS; ++i) s += A(x[i * step + c]);
    sum[c] = s;
  }
}
template <int ROWS, class T, class A>
inline void norm_deviations(const T* x, int64_t step, int channels, const A* center, A* s1, A* s2) {
#pragma GCC ivdep
  for (int c = 0; c < channels; ++c) {
    A first = s1[c], second = s2[c];
#pragma GCC unroll 4
    for (int i = 0; i < ROWS; ++i) {
      const A d = A(x[i * step + c]) - center[c];
      first += d;
      second += d * d;
    }
    s1[c] = first;
    s2[c] = second;
  }
}

template <class T, class A>
void norm_moments(const void* x_, int64_t rows, int channels, int64_t step, int64_t ahead, double* mean,
                  double* m2) {
  for (int c = 0; c < channels; ++c) mean[c] = m2[c] = 0;
  for (int64_t first = 0; first < rows; first += kNormRows) {
    const int n = rows - first < kNormRows ? int(rows - first) : kNormRows;
    const T* x = (const T*)x_ + first * step;
    A center[kNormTile], s1[kNormTile], s2[kNormTile];
    for (int c = 0; c < channels; ++c) center[c] = s1[c] = s2[c] = 0;
    int r = 0;
    for (; r + 4 <= n; r += 4) {
      for (int i = 0; i < 4; ++i) norm_fetch(x + (r + i) * step, channels, ahead);
      norm_sum<4>(x + r * step, step, channels, center);
    }
    for (; r < n; ++r) norm_sum<1>(x + r * step, step, channels, center);
    for (int c = 0; c < channels; ++c) center[c] *= A(1) / A(n);
    for (r = 0; r + 4 <= n; r += 4) norm_deviations<4>(x + r * step, step, channels, center, s1, s2);
    for (; r < n; ++r) norm_deviations<1>(x + r * step, step, channels, center, s1, s2);
    // s1 is what rounding left of zero; it corrects the block's mean and squares. Then Chan's merge.
    const double share = double(n) / double(first + n), both = double(first) * share, part = 1.0 / n;
    for (int c = 0; c < channels; ++c) {
      const double block_mean = double(center[c]) + double(s1[c]) * part;
      const double block_m2 = double(s2[c]) - double(s1[c]) * double(s1[c]) * part;
      const double delta = block_mean - mean[c];
      mean[c] += delta * share;
      m2[c] += block_m2 + delta * delta * both;
    }
  }
}

// What follows the normalisation in the same pass: f(value), and whether the slope passes at an output of that value.
// Comparisons are those of relu and relu6 in pointwise_formulas.inl, so that fused and separate ops give the same bits.
struct NormPlain {
  template <class A>
  static inline A f(A v) {
    return v;
  }
  template <class A>
  static inline A slope(A dy, A) {
    return dy;
  }
};
struct NormRelu {
  template <class A>
  static inline A f(A v) {
    return v < 0 ? A(0) : v;
  }
  template <class A>
  static inline A slope(A dy, A y) {
    return y <= 0 ? A(0) : dy;
  }
};
struct NormRelu6 {
  template <class A>
  static inline A f(A v) {
    return v < 0 ? A(0) : (v > 6 ? A(6) : v);
  }
  template <class A>
  static inline A slope(A dy, A y) {
    return (y > 0 && y < 6) ? dy : A(0);
  }
};

/// ROWS rows into the two sums of each channel, in order. With `y`, a residual was added: only y knows where the
/// activation was open, and its gradient is kept in `masked`.
template <int ROWS, class T, class A, class Act>
inline void norm_gradient(const T* x, const T* dy, const T* y, T* masked, int64_t step, int channels,
                          const NormVectors& v, A* s1, A* s2) {
  const A *mean = (const A*)v.mean, *invstd = (const A*)v.invstd, *scale = (const A*)v.scale,
          *shift = (const A*)v.shift;
  if (y) {
#pragma GCC ivdep
    for (int c = 0; c < channels; ++c) {
      A first = s1[c], second = s2[c];
#pragma GCC unroll 4
      for (int i = 0; i < ROWS; ++i) {
        const A g = Act::slope(A(dy[i * step + c]), A(y[i * step + c]));
        masked[i * step + c] = T(g);
        first += g;
        second += g * ((A(x[i * step + c]) - mean[c]) * invstd[c]);
      }
      s1[c] = first;
      s2[c] = second;
    }
  } else {
#pragma GCC ivdep
    for (int c = 0; c < channels; ++c) {
      A first = s1[c], second = s2[c];
#pragma GCC unroll 4
      for (int i = 0; i < ROWS; ++i) {
        const A d = A(x[i * step + c]) - mean[c];
        const A g = Act::slope(A(dy[i * step + c]), A(T(d * scale[c] + shift[c])));
        first += g;
        second += g * (d * invstd[c]);
      }
      s1[c] = first;
      s2[c] = second;
    }
  }
}

/// The same from row r on; what lies ahead is fetched.
template <int ROWS, class T, class A, class Act>
inline void norm_gradient_rows(const T* x, const T* dy, const T* y, T* masked, int64_t r, int64_t step,
                               int channels, const NormVectors& v, A* s1, A* s2) {
  for (int64_t i = r; i < r + ROWS; ++i) {
    norm_fetch(x + i * step, channels, v.ahead);
    norm_fetch(dy + i * step, channels, v.ahead);
    if (y) norm_fetch(y + i * step, channels, v.ahead);
  }
  norm_gradient<ROWS, T, A, Act>(x + r * step, dy + r * step, y ? y + r * step : nullptr,
                                 y ? masked + r * step : nullptr, step, channels, v, s1, s2);
}

template <class T, class A, class Act>
void norm_gradient_sums(const void* x_, const void* dy_, const void* y_, void* masked_, int64_t rows,
                        int channels, int64_t step, const NormVectors& v, double* s1, double* s2) {
  const T *x = (const T*)x_, *dy = (const T*)dy_, *y = (const T*)y_;
  T* masked = (T*)masked_;
  for (int c = 0; c < channels; ++c) s1[c] = s2[c] = 0;
  for (int64_t first = 0; first < rows; first += kNormRows) {
    const int64_t last = rows - first < kNormRows ? rows : first + kNormRows;
    A a[kNormTile], b[kNormTile];
    for (int c = 0; c < channels; ++c) a[c] = b[c] = 0;
    int64_t r = first;
    for (; r + 4 <= last; r += 4)
      norm_gradient_rows<4, T, A, Act>(x, dy, y, masked, r, step, channels, v, a, b);
    for (; r < last; ++r) norm_gradient_rows<1, T, A, Act>(x, dy, y, masked, r, step, channels, v, a, b);
    for (int c = 0; c < channels; ++c) {
      s1[c] += double(a[c]);
      s2[c] += double(b[c]);
    }
  }
}

template <class T, class A, class Act>
void norm_apply(void* y_, const void* x_, const void* residual_, int64_t rows, int channels, int64_t step,
                const NormVectors& v) {
  const A *mean = (const A*)v.mean, *scale = (const A*)v.scale, *shift = (const A*)v.shift;
  for (int64_t r = 0; r < rows; ++r) {
    T* y = (T*)y_ + r * step;
    const T *x = (const T*)x_ + r * step, *residual = (const T*)residual_ + (residual_ ? r * step : 0);
    T tile[kNormTile];
    T* out = v.stream ? tile : y;
    if (residual_) {
#pragma GCC ivdep
      for (int c = 0; c < channels; ++c) {
        const A normalised = A(T((A(x[c]) - mean[c]) * scale[c] + shift[c]));
        out[c] = T(Act::f(A(T(normalised + A(residual[c])))));
      }
    } else {
#pragma GCC ivdep
      for (int c = 0; c < channels; ++c) out[c] = T(Act::f(A(T((A(x[c]) - mean[c]) * scale[c] + shift[c]))));
    }
    if (v.stream) stream_row(y, tile, channels);
  }
  if (v.stream) stream_done();
}

template <class T, class A, class Act>
void norm_apply_gradient(void* dx_, const void* x_, const void* dy_, int64_t rows, int channels, int64_t step,
                         const NormVectors& v) {
  const A *mean = (const A*)v.mean, *scale = (const A*)v.scale, *shift = (const A*)v.shift,
          *q = (const A*)v.q, *offset = (const A*)v.offset;
  for (int64_t r = 0; r < rows; ++r) {
    T* dx = (T*)dx_ + r * step;
    const T *x = (const T*)x_ + r * step, *dy = (const T*)dy_ + r * step;
    norm_fetch(x, channels, v.ahead);
    norm_fetch(dy, channels, v.ahead);
    T tile[kNormTile];
    T* out = v.stream ? tile : dx;
#pragma GCC ivdep
    for (int c = 0; c < channels; ++c) {
      const A d = A(x[c]) - mean[c];
      out[c] = T(Act::slope(A(dy[c]), A(T(d * scale[c] + shift[c]))) * scale[c] + (d * q[c] + offset[c]));
    }
    if (v.stream) stream_row(dx, tile, channels);
  }
  if (v.stream) stream_done();
}

template <class T, class A>
constexpr NormKernels norm_kernels() {
  return {norm_moments<T, A>,
          {norm_gradient_sums<T, A, NormPlain>, norm_gradient_sums<T, A, NormRelu>,
           norm_gradient_sums<T, A, NormRelu6>},
          {norm_apply<T, A, NormPlain>, norm_apply<T, A, NormRelu>, norm_apply<T, A, NormRelu6>},
          {norm_apply_gradient<T, A, NormPlain>, norm_apply_gradient<T, A, NormRelu>,
           norm_apply_gradient<T, A, NormRelu6>}};
}
