// Loops of the normalisations: lanes are channels, and the inner loops over them vectorise. T is the stored type, A
// the accumulator. Included once per instruction set (T = float) and by cpu/norm.cpp (the other dtypes).

template <class T, class A>
void norm_moments(const void* x_, int64_t rows, int channels, int64_t step, double* mean, double* m2) {
  for (int c = 0; c < channels; ++c) mean[c] = m2[c] = 0;
  for (int64_t first = 0; first < rows; first += kNormRows) {
    const int n = rows - first < kNormRows ? int(rows - first) : kNormRows;
    const T* x = (const T*)x_ + first * step;
    A center[kNormTile], s1[kNormTile], s2[kNormTile];
    for (int c = 0; c < channels; ++c) center[c] = s1[c] = s2[c] = 0;
    for (int r = 0; r < n; ++r)
#pragma GCC ivdep
      for (int c = 0; c < channels; ++c) center[c] += A(x[r * step + c]);
    for (int c = 0; c < channels; ++c) center[c] *= A(1) / A(n);
    for (int r = 0; r < n; ++r)
#pragma GCC ivdep
      for (int c = 0; c < channels; ++c) {
        const A d = A(x[r * step + c]) - center[c];
        s1[c] += d;
        s2[c] += d * d;
      }
    // s1 is what rounding left of zero; it corrects the block's mean and squares. Then Chan's merge.
    const double share = double(n) / double(first + n), both = double(first) * share;
    for (int c = 0; c < channels; ++c) {
      const double block_mean = double(center[c]) + double(s1[c]) / n;
      const double block_m2 = double(s2[c]) - double(s1[c]) * double(s1[c]) / n;
      const double delta = block_mean - mean[c];
      mean[c] += delta * share;
      m2[c] += block_m2 + delta * delta * both;
    }
  }
}

template <class T, class A>
void norm_gradient_sums(const void* x_, const void* dy_, int64_t rows, int channels, int64_t step,
                        const void* mean_, const void* invstd_, double* s1, double* s2) {
  const A *mean = (const A*)mean_, *invstd = (const A*)invstd_;
  for (int c = 0; c < channels; ++c) s1[c] = s2[c] = 0;
  for (int64_t first = 0; first < rows; first += kNormRows) {
    const int n = rows - first < kNormRows ? int(rows - first) : kNormRows;
    const T *x = (const T*)x_ + first * step, *dy = (const T*)dy_ + first * step;
    A a[kNormTile], b[kNormTile];
    for (int c = 0; c < channels; ++c) a[c] = b[c] = 0;
    for (int r = 0; r < n; ++r)
#pragma GCC ivdep
      for (int c = 0; c < channels; ++c) {
        const A g = A(dy[r * step + c]);
        a[c] += g;
        b[c] += g * ((A(x[r * step + c]) - mean[c]) * invstd[c]);
      }
    for (int c = 0; c < channels; ++c) {
      s1[c] += double(a[c]);
      s2[c] += double(b[c]);
    }
  }
}

template <class T, class A>
void norm_apply(void* y_, const void* x_, int64_t rows, int channels, int64_t step, const void* mean_,
                const void* scale_, const void* shift_) {
  const A *mean = (const A*)mean_, *scale = (const A*)scale_, *shift = (const A*)shift_;
  for (int64_t r = 0; r < rows; ++r) {
    T* y = (T*)y_ + r * step;
    const T* x = (const T*)x_ + r * step;
#pragma GCC ivdep
    for (int c = 0; c < channels; ++c) y[c] = T((A(x[c]) - mean[c]) * scale[c] + shift[c]);
  }
}

template <class T, class A>
void norm_apply_gradient(void* dx_, const void* x_, const void* dy_, int64_t rows, int channels, int64_t step,
                         const void* mean_, const void* p_, const void* q_, const void* r_) {
  const A *mean = (const A*)mean_, *p = (const A*)p_, *q = (const A*)q_, *shift = (const A*)r_;
  for (int64_t r = 0; r < rows; ++r) {
    T* dx = (T*)dx_ + r * step;
    const T *x = (const T*)x_ + r * step, *dy = (const T*)dy_ + r * step;
#pragma GCC ivdep
    for (int c = 0; c < channels; ++c) dx[c] = T(A(dy[c]) * p[c] + ((A(x[c]) - mean[c]) * q[c] + shift[c]));
  }
}
