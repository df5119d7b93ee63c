// Loops of pooling. T is the stored type, A the accumulator, P the type of a window position. Included once per
// instruction set (T = float) and by cpu/pool.cpp (the other dtypes).
//
// Max: NaN wins, and the last NaN of a window keeps the position; among equals the first (torch's rule).
// With `relu` the result is, bit for bit, what pooling a ReLU's output gives. A positive (or NaN) maximum is the same.
// Otherwise the ReLU has made zeros of all cells and the first of them wins: -0 only where that cell is -0. The ReLU
// stops such a window's gradient, which position -1 (255 as uint8) says: backward finds no cell of that code.

template <class T, class A, class P, bool kPositions>
void pool_max_pixel(const PoolForwardRow* r, int64_t column, int64_t c0, int width, A lowest) {
  A best[kPoolTile];
  int32_t at[kPoolTile];
  const int64_t first_code =
      (r->first[0] * r->window_h + r->first[1]) * r->window_w + r->column_first[column];
#pragma GCC ivdep
  for (int c = 0; c < width; ++c) {
    best[c] = lowest;
    at[c] = (int32_t)first_code;
  }
  const T* origin = (const T*)r->x + r->x_origin + r->column_offset[column] + c0;
  for (int64_t d = 0; d < r->taps[0]; ++d)
    for (int64_t h = 0; h < r->taps[1]; ++h) {
      const T* x = origin + d * r->x_step[0] + h * r->x_step[1];
      const int64_t code = first_code + (d * r->window_h + h) * r->window_w;
      for (int64_t w = 0; w < r->column_taps[column]; ++w, x += r->x_step[2])
#pragma GCC ivdep
        for (int c = 0; c < width; ++c) {
          const A v = A(x[c]);
          const bool take = (v > best[c]) | (v != v);
          best[c] = take ? v : best[c];
          if (kPositions) at[c] = take ? (int32_t)(code + w) : at[c];
        }
    }
  if (r->relu) {
    const bool any = r->taps[0] > 0 && r->taps[1] > 0 && r->column_taps[column] > 0;
    if (kPositions)
#pragma GCC ivdep
      for (int c = 0; c < width; ++c) at[c] = best[c] <= A(0) ? -1 : at[c];
    if (any)
#pragma GCC ivdep
      for (int c = 0; c < width; ++c) {
        const A first = A(origin[c]), zero = first < A(0) ? A(0) : first;
        best[c] = best[c] <= A(0) ? zero : best[c];
      }
  }
  T* y = (T*)r->y + column * r->channels + c0;
#pragma GCC ivdep
  for (int c = 0; c < width; ++c) y[c] = T(best[c]);
  if (kPositions) {
    P* tap = (P*)r->tap + column * r->channels + c0;
#pragma GCC ivdep
    for (int c = 0; c < width; ++c) tap[c] = (P)at[c];
  }
}

/// `Lowest::value()` is what every element beats or equals: -infinity, or an integer type's minimum.
template <class T, class A, class P, class Lowest>
void pool_max_forward(const PoolForwardRow* r) {
  for (int64_t column = 0; column < r->columns; ++column)
    for (int64_t c = 0; c < r->channels; c += kPoolTile) {
      const int width = r->channels - c < kPoolTile ? (int)(r->channels - c) : kPoolTile;
      if (r->tap)
        pool_max_pixel<T, A, P, true>(r, column, c, width, Lowest::value());
      else
        pool_max_pixel<T, A, P, false>(r, column, c, width, Lowest::value());
    }
}

template <class T, class A>
void pool_avg_forward(const PoolForwardRow* r) {
  for (int64_t column = 0; column < r->columns; ++column)
    for (int64_t c0 = 0; c0 < r->channels; c0 += kPoolTile) {
      const int width = r->channels - c0 < kPoolTile ? (int)(r->channels - c0) : kPoolTile;
      A total[kPoolTile];
      for (int c = 0; c < width; ++c) total[c] = A(0);
      const T* origin = (const T*)r->x + r->x_origin + r->column_offset[column] + c0;
      for (int64_t d = 0; d < r->taps[0]; ++d)
        for (int64_t h = 0; h < r->taps[1]; ++h) {
          // Rows are summed on their own first: rounding grows with the window's side, not its area.
          A row[kPoolTile];
          for (int c = 0; c < width; ++c) row[c] = A(0);
          const T* x = origin + d * r->x_step[0] + h * r->x_step[1];
          for (int64_t w = 0; w < r->column_taps[column]; ++w, x += r->x_step[2])
#pragma GCC ivdep
            for (int c = 0; c < width; ++c) row[c] += A(x[c]);
#pragma GCC ivdep
          for (int c = 0; c < width; ++c) total[c] += row[c];
        }
      const A divisor = A(r->column_divisor[column]);
      T* y = (T*)r->y + column * r->channels + c0;
#pragma GCC ivdep
      for (int c = 0; c < width; ++c) y[c] = T(total[c] / divisor);
    }
}

template <class T, class A, class P>
void pool_max_backward(const PoolBackwardRow* r) {
  for (int64_t column = 0; column < r->columns; ++column)
    for (int64_t c0 = 0; c0 < r->channels; c0 += kPoolTile) {
      const int width = r->channels - c0 < kPoolTile ? (int)(r->channels - c0) : kPoolTile;
      A sum[kPoolTile];
      for (int c = 0; c < width; ++c) sum[c] = A(0);
      for (int64_t i = 0; i < r->row_hits; ++i)
        for (int64_t j = r->column_begin[column]; j < r->column_begin[column + 1]; ++j) {
          const int64_t offset = r->row_offset[i] + r->column_offset[j] + c0;
          const P code = (P)(r->row_code[i] + r->column_code[j]);
          const T* dy = (const T*)r->dy + offset;
          const P* tap = (const P*)r->tap + offset;
#pragma GCC ivdep
          for (int c = 0; c < width; ++c) sum[c] += tap[c] == code ? A(dy[c]) : A(0);
        }
      T* dx = (T*)r->dx + column * r->channels + c0;
      T tile[kPoolTile];
      T* out = r->stream ? tile : dx;
#pragma GCC ivdep
      for (int c = 0; c < width; ++c) out[c] = T(sum[c]);
      if (r->stream) stream_row(dx, tile, width);
    }
  if (r->stream) stream_done();
}

template <class T, class A>
void pool_avg_backward(const PoolBackwardRow* r) {
  for (int64_t column = 0; column < r->columns; ++column)
    for (int64_t c0 = 0; c0 < r->channels; c0 += kPoolTile) {
      const int width = r->channels - c0 < kPoolTile ? (int)(r->channels - c0) : kPoolTile;
      A sum[kPoolTile];
      for (int c = 0; c < width; ++c) sum[c] = A(0);
      for (int64_t i = 0; i < r->row_hits; ++i)
        for (int64_t j = r->column_begin[column]; j < r->column_begin[column + 1]; ++j) {
          const T* dy = (const T*)r->dy + r->row_offset[i] + r->column_offset[j] + c0;
          const A scale = A(1 / (r->row_scale[i] * r->column_scale[j]));
#pragma GCC ivdep
          for (int c = 0; c < width; ++c) sum[c] += A(dy[c]) * scale;
        }
      T* dx = (T*)r->dx + column * r->channels + c0;
      T tile[kPoolTile];
      T* out = r->stream ? tile : dx;
#pragma GCC ivdep
      for (int c = 0; c < width; ++c) out[c] = T(sum[c]);
      if (r->stream) stream_row(dx, tile, width);
    }
  if (r->stream) stream_done();
}
