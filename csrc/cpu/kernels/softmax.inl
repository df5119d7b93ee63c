// Rows of softmax. T is the stored type, A that of the arithmetic. Included once per instruction set (T = float) and by
// softmax.cpp and cross_entropy.cpp (the other dtypes). Sums have kSoftmaxLanes terms side by side, so that they become vectors and
// their order is the same on every instruction set; a row's remainder is a block like any other, filled up with -inf,
// whose exponential is 0. NaN: maxima pass over it, and exp(x - high) brings it back.

#include "cpu/kernels/math.inl"

#define FC_ALWAYS_INLINE inline __attribute__((always_inline))
// Unrolled early, these short loops would be sixteen scalars and never a vector.
#define FC_EACH_LANE _Pragma("GCC unroll 1") for (int l = 0; l < kSoftmaxLanes; ++l)
#define FC_INLINED __attribute__((always_inline))  // a lambda

constexpr int kSoftmaxLanes = 16;
constexpr int64_t kSoftmaxRun = 512;  ///< elements summed in the accumulator type before float64 takes over

template <class T, class A>
FC_ALWAYS_INLINE void softmax_load(A* block, const T* x, int64_t left, int64_t step, A rest) {
  if (left >= kSoftmaxLanes) {
    FC_EACH_LANE block[l] = A(x[l * step]);
  } else {
    FC_EACH_LANE block[l] = rest;
    for (int l = 0; l < left; ++l) block[l] = A(x[l * step]);
  }
}
template <class T, class A>
FC_ALWAYS_INLINE void softmax_store(T* y, const A* block, int64_t left, int64_t step) {
  if (left >= kSoftmaxLanes) {
    FC_EACH_LANE y[l * step] = T(block[l]);
  } else {
    for (int l = 0; l < left; ++l) y[l * step] = T(block[l]);
  }
}

/// Calls f(i, left) for the blocks from `first` to `end`: whole ones, of which the compiler knows so, then the rest.
template <class F>
FC_ALWAYS_INLINE void softmax_blocks(int64_t first, int64_t end, F&& f) {
  int64_t i = first;
  for (; i + kSoftmaxLanes <= end; i += kSoftmaxLanes) f(i, int64_t(kSoftmaxLanes));
  if (i < end) f(i, end - i);
}

/// Calls f(i, lanes, left) for the blocks of a row and returns the sum of what it added to `lanes`.
template <class A, class F>
FC_ALWAYS_INLINE double softmax_sum(int64_t n, F&& f) {
  double total = 0;
  for (int64_t first = 0; first < n; first += kSoftmaxRun) {
    const int64_t end = n - first < kSoftmaxRun ? n : first + kSoftmaxRun;
    A lanes[kSoftmaxLanes] = {};
    softmax_blocks(first, end, [&](int64_t i, int64_t left) FC_INLINED { f(i, lanes, left); });
    for (int width = kSoftmaxLanes / 2; width; width /= 2)
      for (int l = 0; l < width; ++l) lanes[l] += lanes[l + width];
    total += double(lanes[0]);
  }
  return total;
}

template <class T, class A>
FC_ALWAYS_INLINE A softmax_max_of(const T* x, int64_t n, int64_t step) {
  A high[kSoftmaxLanes], v[kSoftmaxLanes];
  FC_EACH_LANE high[l] = -A(__builtin_inff());
  softmax_blocks(0, n, [&](int64_t i, int64_t left) FC_INLINED {
    softmax_load(v, x + i * step, left, step, -A(__builtin_inff()));
    FC_EACH_LANE high[l] = v[l] > high[l] ? v[l] : high[l];
  });
  for (int width = kSoftmaxLanes / 2; width; width /= 2)
    for (int l = 0; l < width; ++l) high[l] = high[l + width] > high[l] ? high[l + width] : high[l];
  return high[0];
}

template <class T, class A>
FC_ALWAYS_INLINE double softmax_exp_sum_of(const T* x, int64_t n, int64_t step, A high) {
  return softmax_sum<A>(n, [&](int64_t i, A* lanes, int64_t left) FC_INLINED {
    A v[kSoftmaxLanes];
    softmax_load(v, x + i * step, left, step, -A(__builtin_inff()));
    FC_EACH_LANE lanes[l] += m_exp(v[l] - high);
  });
}

template <class T, class A>
FC_ALWAYS_INLINE void softmax_forward_of(T* y, const T* x, int64_t n, int64_t ys, int64_t xs, bool log) {
  const A high = softmax_max_of<T, A>(x, n, xs);  // infinite: x - high is NaN, as the result must be
  A v[kSoftmaxLanes];
  if (log) {
    const A shift = m_log(A(softmax_exp_sum_of<T, A>(x, n, xs, high)));
    softmax_blocks(0, n, [&](int64_t i, int64_t left) FC_INLINED {
      softmax_load(v, x + i * xs, left, xs, A(0));
      FC_EACH_LANE v[l] = v[l] - high - shift;
      softmax_store(y + i * ys, v, left, ys);
    });
  } else if (sizeof(T) == sizeof(A)) {
    const double sum = softmax_sum<A>(n, [&](int64_t i, A* lanes, int64_t left) FC_INLINED {
      A e[kSoftmaxLanes];
      softmax_load(e, x + i * xs, left, xs, -A(__builtin_inff()));
      FC_EACH_LANE {
        e[l] = m_exp(e[l] - high);
        lanes[l] += e[l];
      }
      softmax_store(y + i * ys, e, left, ys);
    });
    const A scale = A(1 / sum);
    softmax_blocks(0, n, [&](int64_t i, int64_t left) FC_INLINED {
      softmax_load(v, y + i * ys, left, ys, A(0));
      FC_EACH_LANE v[l] *= scale;
      softmax_store(y + i * ys, v, left, ys);
    });
  } else {  // the result has too few digits to hold the exponentials meanwhile
    const A scale = A(1 / softmax_exp_sum_of<T, A>(x, n, xs, high));
    softmax_blocks(0, n, [&](int64_t i, int64_t left) FC_INLINED {
      softmax_load(v, x + i * xs, left, xs, A(0));
      FC_EACH_LANE v[l] = m_exp(v[l] - high) * scale;
      softmax_store(y + i * ys, v, left, ys);
    });
  }
}

template <class T, class A>
FC_ALWAYS_INLINE void softmax_backward_of(T* dx, const T* y, const T* dy, int64_t n, int64_t xs, int64_t ys,
                                          int64_t ds, bool log) {
  A g[kSoftmaxLanes], v[kSoftmaxLanes];
  const A sum = A(softmax_sum<A>(n, [&](int64_t i, A* lanes, int64_t left) FC_INLINED {
    softmax_load(g, dy + i * ds, left, ds, A(0));
    if (log) {
      FC_EACH_LANE lanes[l] += g[l];
    } else {
      softmax_load(v, y + i * ys, left, ys, A(0));
      FC_EACH_LANE lanes[l] += g[l] * v[l];
    }
  }));
  softmax_blocks(0, n, [&](int64_t i, int64_t left) FC_INLINED {
    softmax_load(g, dy + i * ds, left, ds, A(0));
    softmax_load(v, y + i * ys, left, ys, A(0));
    if (log) {
      FC_EACH_LANE v[l] = g[l] - m_exp(v[l]) * sum;
    } else {
      FC_EACH_LANE v[l] = v[l] * (g[l] - sum);
    }
    softmax_store(dx + i * xs, v, left, xs);
  });
}

// ---- float32 rows side by side: the axis is not innermost, and lanes are rows ----

/// total[i]: the sum of what `term(v, i, left, c)` leaves in v for the classes c of row i.., in softmax_sum's order.
template <class F>
FC_ALWAYS_INLINE void softmax_column_sums(double* total, int64_t n, int64_t width, F&& term) {
  for (int i = 0; i < kSoftmaxColumns; ++i) total[i] = 0;
  for (int64_t first = 0; first < n; first += kSoftmaxRun) {
    const int64_t end = n - first < kSoftmaxRun ? n : first + kSoftmaxRun;
    float sums[kSoftmaxLanes][kSoftmaxColumns] = {}, v[kSoftmaxLanes];
    for (int64_t c = first; c < end; ++c) {
      float* sum = sums[(c - first) % kSoftmaxLanes];
      softmax_blocks(0, width, [&](int64_t i, int64_t left) FC_INLINED {
        term(v, i, left, c);
        FC_EACH_LANE sum[i + l] += v[l];
      });
    }
    for (int half = kSoftmaxLanes / 2; half; half /= 2)
      for (int s = 0; s < half; ++s)
        for (int i = 0; i < kSoftmaxColumns; ++i) sums[s][i] += sums[s + half][i];
    for (int i = 0; i < kSoftmaxColumns; ++i) total[i] += double(sums[0][i]);
  }
}

inline void softmax_forward_columns(float* y, const float* x, int64_t n, int64_t width, int64_t ys,
                                    int64_t xs, bool log) {
  float high[kSoftmaxColumns];
  for (int i = 0; i < kSoftmaxColumns; ++i) high[i] = -__builtin_inff();
  for (int64_t c = 0; c < n; ++c)
    softmax_blocks(0, width, [&](int64_t i, int64_t left) FC_INLINED {
      float v[kSoftmaxLanes];
      softmax_load(v, x + c * xs + i, left, 1, -__builtin_inff());
      FC_EACH_LANE high[i + l] = v[l] > high[i + l] ? v[l] : high[i + l];
    });
  double total[kSoftmaxColumns];
  softmax_column_sums(total, n, width, [&](float* v, int64_t i, int64_t left, int64_t c) FC_INLINED {
    softmax_load(v, x + c * xs + i, left, 1, -__builtin_inff());
    FC_EACH_LANE v[l] = m_exp(v[l] - high[i + l]);
    if (!log) softmax_store(y + c * ys + i, v, left, 1);
  });
  float last[kSoftmaxColumns];
  for (int i = 0; i < kSoftmaxColumns; ++i) last[i] = (float)(log ? total[i] : 1 / total[i]);
  if (log)
    for (int i = 0; i < kSoftmaxColumns; ++i) last[i] = m_log(last[i]);
  for (int64_t c = 0; c < n; ++c)
    softmax_blocks(0, width, [&](int64_t i, int64_t left) FC_INLINED {
      float v[kSoftmaxLanes];
      if (log) {
        softmax_load(v, x + c * xs + i, left, 1, 0.0f);
        FC_EACH_LANE v[l] = v[l] - high[i + l] - last[i + l];
      } else {
        softmax_load(v, y + c * ys + i, left, 1, 0.0f);
        FC_EACH_LANE v[l] *= last[i + l];
      }
      softmax_store(y + c * ys + i, v, left, 1);
    });
}

inline void softmax_backward_columns(float* dx, const float* y, const float* dy, int64_t n, int64_t width,
                                     int64_t xs, int64_t ys, int64_t ds, bool log) {
  float out[kSoftmaxLanes], sum[kSoftmaxColumns];
  double total[kSoftmaxColumns];
  softmax_column_sums(total, n, width, [&](float* v, int64_t i, int64_t left, int64_t c) FC_INLINED {
    softmax_load(v, dy + c * ds + i, left, 1, 0.0f);
    if (log) return;
    softmax_load(out, y + c * ys + i, left, 1, 0.0f);
    FC_EACH_LANE v[l] *= out[l];
  });
  for (int i = 0; i < kSoftmaxColumns; ++i) sum[i] = (float)total[i];
  for (int64_t c = 0; c < n; ++c)
    softmax_blocks(0, width, [&](int64_t i, int64_t left) FC_INLINED {
      float g[kSoftmaxLanes], v[kSoftmaxLanes];
      softmax_load(g, dy + c * ds + i, left, 1, 0.0f);
      softmax_load(v, y + c * ys + i, left, 1, 0.0f);
      if (log) {
        FC_EACH_LANE v[l] = g[l] - m_exp(v[l]) * sum[i + l];
      } else {
        FC_EACH_LANE v[l] = v[l] * (g[l] - sum[i + l]);
      }
      softmax_store(dx + c * xs + i, v, left, 1);
    });
}

// ---- the table: rows without gaps have loops of their own ----

template <class T, class A>
double softmax_max(const void* x, int64_t n, int64_t step) {
  return step == 1 ? softmax_max_of<T, A>((const T*)x, n, 1) : softmax_max_of<T, A>((const T*)x, n, step);
}
template <class T, class A>
double softmax_exp_sum(const void* x, int64_t n, int64_t step, double high) {
  return step == 1 ? softmax_exp_sum_of<T, A>((const T*)x, n, 1, A(high))
                   : softmax_exp_sum_of<T, A>((const T*)x, n, step, A(high));
}
template <class T, class A>
void softmax_forward_row(void* y, const void* x, int64_t n, int64_t ys, int64_t xs, bool log) {
  if (ys == 1 && xs == 1) return softmax_forward_of<T, A>((T*)y, (const T*)x, n, 1, 1, log);
  softmax_forward_of<T, A>((T*)y, (const T*)x, n, ys, xs, log);
}
template <class T, class A>
void softmax_backward_row(void* dx, const void* y, const void* dy, int64_t n, int64_t xs, int64_t ys,
                          int64_t ds, bool log) {
  if (xs == 1 && ys == 1 && ds == 1)
    return softmax_backward_of<T, A>((T*)dx, (const T*)y, (const T*)dy, n, 1, 1, 1, log);
  softmax_backward_of<T, A>((T*)dx, (const T*)y, (const T*)dy, n, xs, ys, ds, log);
}
template <class T, class A>
FC_ALWAYS_INLINE void softmax_exp_scaled_of(T* dx, const T* x, int64_t n, int64_t ds, int64_t xs, A lse,
                                            A scale, A shift) {
  A v[kSoftmaxLanes];
  softmax_blocks(0, n, [&](int64_t i, int64_t left) FC_INLINED {
    softmax_load(v, x + i * xs, left, xs, A(0));
    FC_EACH_LANE v[l] = scale * m_exp(v[l] - lse) - shift;
    softmax_store(dx + i * ds, v, left, ds);
  });
}
template <class T, class A>
void softmax_exp_scaled(void* dx, const void* x, int64_t n, int64_t ds, int64_t xs, double lse, double scale,
                        double shift) {
  if (ds == 1 && xs == 1)
    return softmax_exp_scaled_of<T, A>((T*)dx, (const T*)x, n, 1, 1, A(lse), A(scale), A(shift));
  softmax_exp_scaled_of<T, A>((T*)dx, (const T*)x, n, ds, xs, A(lse), A(scale), A(shift));
}

template <class T, class A>
constexpr SoftmaxKernels softmax_kernels() {
  SoftmaxKernels k = {softmax_max<T, A>,
                      softmax_exp_sum<T, A>,
                      softmax_forward_row<T, A>,
                      softmax_backward_row<T, A>,
                      softmax_exp_scaled<T, A>,
                      nullptr,
                      nullptr};
  if constexpr (sizeof(T) == 4) {
    k.forward_columns = softmax_forward_columns;
    k.backward_columns = softmax_backward_columns;
  }
  return k;
}
#undef FC_ALWAYS_INLINE
#undef FC_INLINED
#undef FC_EACH_LANE
