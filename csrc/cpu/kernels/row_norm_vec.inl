// Rows of layer norm and RMS norm in float32 with vectors. Sums have kRowSums terms side by side, whatever the vector's
// length, so their order is the same on every instruction set.

#define FC_INLINED __attribute__((always_inline))  // a lambda

constexpr int kRowSums = 32, kRowVecs = kRowSums / kLanes;
constexpr int64_t kRowRun = 4096;  ///< elements summed in float32 before float64 takes over

FC_INLINE Vec row_load(const float* p, int n) { return n == kLanes ? vload(p) : vload_part(p, n); }

/// `value` in the first n lanes, else 0.
struct RowConstant {
  float lanes[kLanes];
  FC_INLINE explicit RowConstant(float value) {
    for (int i = 0; i < kLanes; ++i) lanes[i] = value;
  }
  FC_INLINE Vec first(int n) const { return row_load(lanes, n); }
};

/// Adds f(i, lanes)'s vectors over [0, n): of `lanes` elements from i on, 0 in the other lanes.
template <class F>
FC_INLINE double row_sum(int64_t n, F&& f) {
  double total = 0;
  for (int64_t first = 0; first < n; first += kRowRun) {
    const int64_t end = n - first < kRowRun ? n : first + kRowRun;
    Vec sum[kRowVecs];
    for (int v = 0; v < kRowVecs; ++v) sum[v] = vzero();
    int64_t i = first;
    for (; i + kRowSums <= end; i += kRowSums)
      for (int v = 0; v < kRowVecs; ++v) sum[v] = vadd(sum[v], f(i + v * kLanes, kLanes));
    for (int v = 0; v < kRowVecs; ++v) {  // known at compile time, or the sums would live in memory
      const int64_t left = end - i - v * kLanes;
      if (left > 0) sum[v] = vadd(sum[v], f(i + v * kLanes, left < kLanes ? (int)left : kLanes));
    }
    for (int width = kRowVecs / 2; width; width /= 2)
      for (int v = 0; v < width; ++v) sum[v] = vadd(sum[v], sum[v + width]);
    total += (double)vsum(sum[0]);
  }
  return total;
}

/// Calls f(i, lanes) over [0, n) and writes what it returns to y.
template <class F>
FC_INLINE void row_write(float* y, int64_t n, bool stream, F&& f) {
  int64_t i = 0;
  if (stream && (uintptr_t)y % sizeof(Vec) == 0) {
    for (; i + kLanes <= n; i += kLanes) vstream(y + i, f(i, kLanes));
  } else {
    for (; i + kLanes <= n; i += kLanes) vstore(y + i, f(i, kLanes));
  }
  if (i < n) vstore_part(y + i, f(i, (int)(n - i)), (int)(n - i));
}

inline void row_norm_forward_vec(void* y_, const void* x_, const void* weight_, const void* bias_,
                                 int64_t rows, int64_t n, bool center, double eps, void* means, void* invstds,
                                 bool stream) {
  const float *weight = (const float*)weight_, *bias = (const float*)bias_;
  for (int64_t r = 0; r < rows; ++r) {
    const float* x = (const float*)x_ + r * n;
    double mean = 0;
    if (center)
      mean = row_sum(n, [&](int64_t i, int lanes) FC_INLINED { return row_load(x + i, lanes); }) / (double)n;
    const float m = (float)mean;
    const RowConstant about(m);
    double square = row_sum(n,
                            [&](int64_t i, int lanes) FC_INLINED {
                              const Vec d = vsub(row_load(x + i, lanes), about.first(lanes));
                              return vmul(d, d);
                            }) /
                    (double)n;
    if (center) {
      square -= (mean - (double)m) * (mean - (double)m);
      square = square < 0 ? 0 : square;
    }
    const float invstd = (float)(1 / __builtin_sqrt(square + eps));
    ((float*)means)[r] = m;
    ((float*)invstds)[r] = invstd;
    const Vec vm = vset(m), vi = vset(invstd);
    row_write((float*)y_ + r * n, n, stream, [&](int64_t i, int lanes) FC_INLINED {
      Vec v = vmul(vsub(row_load(x + i, lanes), vm), vi);
      if (weight) v = vmul(v, row_load(weight + i, lanes));
      if (bias) v = vadd(v, row_load(bias + i, lanes));
      return v;
    });
  }
  if (stream) stream_done();
}

inline void row_norm_backward_vec(void* dx_, const void* x_, const void* dy_, const void* weight_,
                                  int64_t rows, int64_t n, bool center, const void* means,
                                  const void* invstds, bool stream) {
  const float* weight = (const float*)weight_;
  for (int64_t r = 0; r < rows; ++r) {
    const float *x = (const float*)x_ + r * n, *dy = (const float*)dy_ + r * n;
    const Vec mean = vset(((const float*)means)[r]), invstd = vset(((const float*)invstds)[r]);
    const auto g = [&](int64_t i, int lanes) FC_INLINED {
      const Vec v = row_load(dy + i, lanes);
      return weight ? vmul(v, row_load(weight + i, lanes)) : v;
    };
    const auto normalised = [&](int64_t i, int lanes)
                                FC_INLINED { return vmul(vsub(row_load(x + i, lanes), mean), invstd); };
    const Vec s1 = vset(center ? (float)(row_sum(n, g) / (double)n) : 0.0f);
    const Vec s2 =
        vset((float)(row_sum(n, [&](int64_t i, int lanes)
                                    FC_INLINED { return vmul(g(i, lanes), normalised(i, lanes)); }) /
                     (double)n));
    row_write((float*)dx_ + r * n, n, stream, [&](int64_t i, int lanes) FC_INLINED {
      return vmul(invstd, vsub(vsub(g(i, lanes), s1), vmul(normalised(i, lanes), s2)));
    });
  }
  if (stream) stream_done();
}

/// Blocks of rows are summed in float32 before float64 takes over.
template <int kVecs>
FC_INLINE void row_norm_affine_columns(double* db, double* dw, const float* x, const float* dy, int64_t rows,
                                       int64_t n, const float* mean, const float* invstd, int part) {
  Vec a[kVecs], b[kVecs];
  for (int v = 0; v < kVecs; ++v) a[v] = b[v] = vzero();
  for (int64_t r = 0; r < rows; ++r)
    for (int v = 0; v < kVecs; ++v) {
      const int64_t at = r * n + v * kLanes;
      const Vec g = row_load(dy + at, part), d = vsub(row_load(x + at, part), vset(mean[r]));
      a[v] = vadd(a[v], g);
      b[v] = vadd(b[v], vmul(g, vmul(d, vset(invstd[r]))));
    }
  for (int v = 0; v < kVecs; ++v) {
    float sa[kLanes], sb[kLanes];
    vstore(sa, a[v]);
    vstore(sb, b[v]);
    for (int i = 0; i < part; ++i) {
      db[v * kLanes + i] += (double)sa[i];
      dw[v * kLanes + i] += (double)sb[i];
    }
  }
}
inline void row_norm_affine_vec(double* db, double* dw, const void* x_, const void* dy_, int64_t rows,
                                int64_t n, const void* mean_, const void* invstd_) {
  constexpr int64_t kRows = 16;
  for (int64_t first = 0; first < rows; first += kRows) {
    const int64_t count = rows - first < kRows ? rows - first : kRows;
    const float *x = (const float*)x_ + first * n, *dy = (const float*)dy_ + first * n;
    const float *mean = (const float*)mean_ + first, *invstd = (const float*)invstd_ + first;
    int64_t c = 0;
    for (; c + 4 * kLanes <= n; c += 4 * kLanes)
      row_norm_affine_columns<4>(db + c, dw + c, x + c, dy + c, count, n, mean, invstd, kLanes);
    for (; c < n; c += kLanes)
      row_norm_affine_columns<1>(db + c, dw + c, x + c, dy + c, count, n, mean, invstd,
                                 n - c < kLanes ? (int)(n - c) : kLanes);
  }
}

constexpr RowNormKernels kRowNorm = {row_norm_forward_vec, row_norm_backward_vec, row_norm_affine_vec};
#undef FC_INLINED
