// Rows of layer norm and RMS norm of the dtypes that have no vectors (kernels/row_norm_vec.inl). T is the stored type, A
// the accumulator. Sums have kRowNormLanes terms side by side, so that they become vectors.

constexpr int kRowNormLanes = 16;
constexpr int64_t kRowNormRun = 4096;  ///< elements summed in the accumulator type before float64 takes over

/// The sum of f(i) for i in [0, n).
template <class A, class F>
inline __attribute__((always_inline)) double row_norm_sum(int64_t n, F&& f) {
  double total = 0;
  for (int64_t first = 0; first < n; first += kRowNormRun) {
    const int64_t end = n - first < kRowNormRun ? n : first + kRowNormRun;
    A lanes[kRowNormLanes] = {};
    int64_t i = first;
    for (; i + kRowNormLanes <= end; i += kRowNormLanes)
#pragma GCC unroll 1  // early unrolling would leave scalars
      for (int l = 0; l < kRowNormLanes; ++l) lanes[l] += f(i + l);
    for (; i < end; ++i) lanes[i % kRowNormLanes] += f(i);
    for (int width = kRowNormLanes / 2; width; width /= 2)
      for (int l = 0; l < width; ++l) lanes[l] += lanes[l + width];
    total += double(lanes[0]);
  }
  return total;
}

template <class T, class A>
void row_norm_forward_row(void* y_, const void* x_, const void* weight_, const void* bias_, int64_t n,
                          bool center, double eps, void* mean_out, void* invstd_out) {
  T* y = (T*)y_;
  const T *x = (const T*)x_, *weight = (const T*)weight_, *bias = (const T*)bias_;
  double mean = 0;
  if (center)
    mean = row_norm_sum<A>(n, [&](int64_t i) __attribute__((always_inline)) { return A(x[i]); }) / double(n);
  const A m = A(mean);
  double square =
      row_norm_sum<A>(
          n, [&](int64_t i) __attribute__((always_inline)) { return (A(x[i]) - m) * (A(x[i]) - m); }) /
      double(n);
  if (center) {
    square -= (mean - double(m)) * (mean - double(m));
    square = square < 0 ? 0 : square;
  }
  const A invstd = A(1 / __builtin_sqrt(square + eps));
  *(A*)mean_out = m;
  *(A*)invstd_out = invstd;
  if (weight && bias) {
#pragma GCC ivdep
    for (int64_t i = 0; i < n; ++i) y[i] = T((A(x[i]) - m) * invstd * A(weight[i]) + A(bias[i]));
  } else {
#pragma GCC ivdep
    for (int64_t i = 0; i < n; ++i)
      y[i] = T((A(x[i]) - m) * invstd * (weight ? A(weight[i]) : A(1)) + (bias ? A(bias[i]) : A(0)));
  }
}

/// `weight` may be nullptr.
template <class T, class A, bool kWeight>
inline __attribute__((always_inline)) void row_norm_backward_of(T* dx, const T* x, const T* dy,
                                                                const T* weight, int64_t n, bool center,
                                                                A mean, A invstd) {
  const auto g = [&](int64_t i) __attribute__((always_inline)) {
    return kWeight ? A(dy[i]) * A(weight[i]) : A(dy[i]);
  };
  const A s1 = center ? A(row_norm_sum<A>(n, g) / double(n)) : A(0);
  const A s2 =
      A(row_norm_sum<A>(
            n, [&](int64_t i) __attribute__((always_inline)) { return g(i) * ((A(x[i]) - mean) * invstd); }) /
        double(n));
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) dx[i] = T(invstd * (g(i) - s1 - (A(x[i]) - mean) * invstd * s2));
}
template <class T, class A>
void row_norm_backward_row(void* dx, const void* x, const void* dy, const void* weight, int64_t n,
                           bool center, const void* mean, const void* invstd) {
  if (weight)
    row_norm_backward_of<T, A, true>((T*)dx, (const T*)x, (const T*)dy, (const T*)weight, n, center,
                                     *(const A*)mean, *(const A*)invstd);
  else
    row_norm_backward_of<T, A, false>((T*)dx, (const T*)x, (const T*)dy, nullptr, n, center, *(const A*)mean,
                                      *(const A*)invstd);
}

/// One more row of the sums over rows.
template <class T, class A>
void row_norm_affine_row(double* db, double* dw, const void* x_, const void* dy_, int64_t n,
                         const void* mean_, const void* invstd_) {
  const T *x = (const T*)x_, *dy = (const T*)dy_;
  const A mean = *(const A*)mean_, invstd = *(const A*)invstd_;
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) {
    db[i] += double(A(dy[i]));
    dw[i] += double(A(dy[i]) * ((A(x[i]) - mean) * invstd));
  }
}

template <class T, class A>
void row_norm_forward_rows(void* y, const void* x, const void* weight, const void* bias, int64_t rows,
                           int64_t n, bool center, double eps, void* mean, void* invstd, bool) {
  for (int64_t r = 0; r < rows; ++r)
    row_norm_forward_row<T, A>((T*)y + r * n, (const T*)x + r * n, weight, bias, n, center, eps, (A*)mean + r,
                               (A*)invstd + r);
}
template <class T, class A>
void row_norm_backward_rows(void* dx, const void* x, const void* dy, const void* weight, int64_t rows,
                            int64_t n, bool center, const void* mean, const void* invstd, bool) {
  for (int64_t r = 0; r < rows; ++r)
    row_norm_backward_row<T, A>((T*)dx + r * n, (const T*)x + r * n, (const T*)dy + r * n, weight, n, center,
                                (const A*)mean + r, (const A*)invstd + r);
}
template <class T, class A>
void row_norm_affine_rows(double* db, double* dw, const void* x, const void* dy, int64_t rows, int64_t n,
                          const void* mean, const void* invstd) {
  for (int64_t r = 0; r < rows; ++r)
    row_norm_affine_row<T, A>(db, dw, (const T*)x + r * n, (const T*)dy + r * n, n, (const A*)mean + r,
                              (const A*)invstd + r);
}

template <class T, class A>
constexpr RowNormKernels row_norm_kernels() {
  return {row_norm_forward_rows<T, A>, row_norm_backward_rows<T, A>, row_norm_affine_rows<T, A>};
}
