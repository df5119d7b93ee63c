// Loops of sparse maps along an axis. Included once per instruction set (T = float) and by cpu/axis_map.cpp.

template <class T, class A>
void axis_map_row(void* y_, const void* x_, const int64_t* index, const double* weight, int64_t count,
                  int64_t step, int64_t width) {
  constexpr int64_t kTile = 128;  // sums of a tile stay in the first cache level
  for (int64_t first = 0; first < width; first += kTile) {
    const int64_t n = width - first < kTile ? width - first : kTile;
    A sum[kTile];
    for (int64_t i = 0; i < n; ++i) sum[i] = A(0);
    for (int64_t k = 0; k < count; ++k) {
      const T* x = (const T*)x_ + index[k] * step + first;
      const A w = A(weight[k]);
      if (w == A(1) && count == 1) {  // a copy: infinities and NaN pass as they are
#pragma GCC ivdep
        for (int64_t i = 0; i < n; ++i) sum[i] = A(x[i]);
      } else {
#pragma GCC ivdep
        for (int64_t i = 0; i < n; ++i) sum[i] += w * A(x[i]);
      }
    }
    T* y = (T*)y_ + first;
#pragma GCC ivdep
    for (int64_t i = 0; i < n; ++i) y[i] = T(sum[i]);
  }
}
