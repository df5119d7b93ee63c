// Pooling of float32 with vectors: kVecs of them (whole ones), or one of which the first `part` lanes count. The same
// sums, in the same order, as pool.inl's, so the same bits. uint8 positions.

template <int kVecs>
FC_INLINE void pool_load(Vec* v, const float* x, int part) {
  if (part) {
    v[0] = vload_part(x, part);
  } else {
    for (int i = 0; i < kVecs; ++i) v[i] = vload(x + i * kLanes);
  }
}
template <int kVecs>
FC_INLINE void pool_store(float* y, const Vec* v, int part, bool stream) {
  if (part) {
    vstore_part(y, v[0], part);
  } else if (stream) {
    for (int i = 0; i < kVecs; ++i) vstream(y + i * kLanes, v[i]);
  } else {
    for (int i = 0; i < kVecs; ++i) vstore(y + i * kLanes, v[i]);
  }
}

/// Calls f.run<kVecs>(first channel, part) for all channels of a pixel.
template <class F>
FC_INLINE void pool_channels(int64_t channels, F&& f) {
  int64_t c = 0;
  for (; c + 4 * kLanes <= channels; c += 4 * kLanes) f.template run<4>(c, 0);
  for (; c + 2 * kLanes <= channels; c += 2 * kLanes) f.template run<2>(c, 0);
  for (; c + kLanes <= channels; c += kLanes) f.template run<1>(c, 0);
  if (c < channels) f.template run<1>(c, (int)(channels - c));
}

template <int kVecs>
FC_INLINE void pool_fetch_ahead(const PoolForwardRow* r, const float* origin) {
  if (!r->ahead) return;
  const float* x = origin + (r->taps[1] - r->fresh[0]) * r->x_step[1] + r->ahead;
  for (int64_t h = 0; h < r->fresh[0]; ++h, x += r->x_step[1])
    for (int64_t w = 0; w < r->fresh[1]; ++w)
      for (int i = 0; i < kVecs; ++i) __builtin_prefetch(x + w * r->x_step[2] + i * kLanes, 0, 2);
}

template <bool kPositions>
struct PoolMaxPixel {
  const PoolForwardRow* r;
  int64_t column;

  template <int kVecs>
  FC_INLINE void run(int64_t c0, int part) const {
    const int64_t taps = r->column_taps[column];
    const int64_t first_code =
        (r->first[0] * r->window_h + r->first[1]) * r->window_w + r->column_first[column];
    const float* origin = (const float*)r->x + r->x_origin + r->column_offset[column] + c0;
    pool_fetch_ahead<kVecs>(r, origin);
    Vec best[kVecs], at[kVecs], v[kVecs];  // positions as floats: they are below 256
    for (int i = 0; i < kVecs; ++i) best[i] = vset(-__builtin_inff()), at[i] = vset((float)first_code);
    for (int64_t d = 0; d < r->taps[0]; ++d)
      for (int64_t h = 0; h < r->taps[1]; ++h) {
        const float* x = origin + d * r->x_step[0] + h * r->x_step[1];
        const int64_t code = first_code + (d * r->window_h + h) * r->window_w;
        for (int64_t w = 0; w < taps; ++w, x += r->x_step[2]) {
          pool_load<kVecs>(v, x, part);
          const Vec here = vset((float)(code + w));
          for (int i = 0; i < kVecs; ++i) {
            const Mask take = mask_or(vless(best[i], v[i]), vunordered(v[i], v[i]));
            best[i] = vselect(take, v[i], best[i]);
            if (kPositions) at[i] = vselect(take, here, at[i]);
          }
        }
      }
    if (r->relu) {
      const Vec zero = vzero();
      const bool any = r->taps[0] > 0 && r->taps[1] > 0 && taps > 0;
      if (any) pool_load<kVecs>(v, origin, part);
      for (int i = 0; i < kVecs; ++i) {
        const Mask positive = mask_or(vless(zero, best[i]), vunordered(best[i], best[i]));
        if (kPositions) at[i] = vselect(positive, at[i], vset(255.0f));
        if (any) best[i] = vselect(positive, best[i], vselect(vless(v[i], zero), zero, v[i]));
      }
    }
    pool_store<kVecs>((float*)r->y + column * r->channels + c0, best, part, false);
    if (kPositions) {
      uint8_t* tap = (uint8_t*)r->tap + column * r->channels + c0;
      for (int i = 0; i < kVecs; ++i) store_bytes(tap + i * kLanes, at[i], part ? part : kLanes);
    }
  }
};

struct PoolAvgPixel {
  const PoolForwardRow* r;
  int64_t column;

  template <int kVecs>
  FC_INLINE void run(int64_t c0, int part) const {
    const float* origin = (const float*)r->x + r->x_origin + r->column_offset[column] + c0;
    pool_fetch_ahead<kVecs>(r, origin);
    Vec total[kVecs], v[kVecs];
    for (int i = 0; i < kVecs; ++i) total[i] = vzero();
    for (int64_t d = 0; d < r->taps[0]; ++d)
      for (int64_t h = 0; h < r->taps[1]; ++h) {
        // Rows are summed on their own first: rounding grows with the window's side, not its area.
        const float* x = origin + d * r->x_step[0] + h * r->x_step[1];
        Vec row[kVecs];
        for (int i = 0; i < kVecs; ++i) row[i] = vzero();
        for (int64_t w = 0; w < r->column_taps[column]; ++w, x += r->x_step[2]) {
          pool_load<kVecs>(v, x, part);
          for (int i = 0; i < kVecs; ++i) row[i] = vadd(row[i], v[i]);
        }
        for (int i = 0; i < kVecs; ++i) total[i] = vadd(total[i], row[i]);
      }
    const Vec divisor = vset((float)r->column_divisor[column]);
    for (int i = 0; i < kVecs; ++i) total[i] = vdiv(total[i], divisor);
    pool_store<kVecs>((float*)r->y + column * r->channels + c0, total, part, false);
  }
};

template <bool kMax>
struct PoolBackwardPixel {
  const PoolBackwardRow* r;
  int64_t column;
  bool stream;

  template <int kVecs>
  FC_INLINE void run(int64_t c0, int part) const {
    Vec sum[kVecs], v[kVecs];
    for (int i = 0; i < kVecs; ++i) sum[i] = vzero();
    if (r->ahead && r->column_begin[column] < r->column_begin[column + 1]) {
      const int64_t next =
          r->row_offset[r->row_hits - 1] + r->ahead + r->column_offset[r->column_begin[column + 1] - 1] + c0;
      for (int i = 0; i < kVecs; ++i) __builtin_prefetch((const float*)r->dy + next + i * kLanes, 0, 2);
      if (kMax) __builtin_prefetch((const uint8_t*)r->tap + next, 0, 2);
    }
    for (int64_t h = 0; h < r->row_hits; ++h)
      for (int64_t j = r->column_begin[column]; j < r->column_begin[column + 1]; ++j) {
        const int64_t offset = r->row_offset[h] + r->column_offset[j] + c0;
        pool_load<kVecs>(v, (const float*)r->dy + offset, part);
        if (kMax) {
          const uint8_t code = (uint8_t)(r->row_code[h] + r->column_code[j]);
          const uint8_t* tap = (const uint8_t*)r->tap + offset;
          for (int i = 0; i < kVecs; ++i) {
            const Mask hit = bytes_equal(tap + i * kLanes, code, part ? part : kLanes);
            sum[i] = vadd(sum[i], vselect(hit, v[i], vzero()));
          }
        } else {
          const Vec scale = vset((float)(1 / (r->row_scale[h] * r->column_scale[j])));
          for (int i = 0; i < kVecs; ++i) sum[i] = vadd(sum[i], vmul(v[i], scale));
        }
      }
    pool_store<kVecs>((float*)r->dx + column * r->channels + c0, sum, part, stream);
  }
};

/// Whether `columns` pixels from `column` on are in one window each, and in the same one, as where windows do not overlap.
FC_INLINE bool pool_one_window(const PoolBackwardRow* r, int64_t column, int64_t columns) {
  if (column + columns > r->columns) return false;
  const int64_t j = r->column_begin[column];
  for (int64_t i = 0; i < columns; ++i)
    if (r->column_begin[column + i + 1] != j + i + 1 || r->column_offset[j + i] != r->column_offset[j])
      return false;
  return true;
}

/// Those pixels: nothing to add up, and the window's gradient is read once.
template <bool kMax, int kColumns>
FC_INLINE void pool_backward_window(const PoolBackwardRow* r, int64_t column, bool stream) {
  const int64_t j = r->column_begin[column], offset = r->row_offset[0] + r->column_offset[j];
  const int64_t channels = r->channels;
  const float* dy = (const float*)r->dy + offset;
  const uint8_t* tap = (const uint8_t*)r->tap + offset;
  float* dx = (float*)r->dx + column * channels;
  uint8_t code[kColumns];
  for (int i = 0; i < kColumns; ++i) code[i] = (uint8_t)(r->row_code[0] + r->column_code[j + i]);
  const Vec scale = vset(kMax ? 1.0f : (float)(1 / (r->row_scale[0] * r->column_scale[j])));
  Vec value[kColumns];
  const auto find = [&](int64_t c, Vec v, int lanes) __attribute__((always_inline)) {
    if (!kMax) v = vmul(v, scale);
    for (int i = 0; i < kColumns; ++i) {
      const Vec mine = kMax ? vselect(bytes_equal(tap + c, code[i], lanes), v, vzero()) : v;
      value[i] = vadd(vzero(), mine);  // no sum is -0
    }
  };
  int64_t c = 0;
  for (; c + kLanes <= channels; c += kLanes) {
    find(c, vload(dy + c), kLanes);
    for (int i = 0; i < kColumns; ++i) {
      float* at = dx + i * channels + c;
      if (stream)
        vstream(at, value[i]);
      else
        vstore(at, value[i]);
    }
  }
  const int part = (int)(channels - c);
  if (part == 0) return;
  find(c, vload_part(dy + c, part), part);
  for (int i = 0; i < kColumns; ++i) vstore_part(dx + i * channels + c, value[i], part);
}

inline void pool_max_forward_vec(const PoolForwardRow* r) {
  for (int64_t column = 0; column < r->columns; ++column)
    if (r->tap)
      pool_channels(r->channels, PoolMaxPixel<true>{r, column});
    else
      pool_channels(r->channels, PoolMaxPixel<false>{r, column});
}
inline void pool_avg_forward_vec(const PoolForwardRow* r) {
  for (int64_t column = 0; column < r->columns; ++column) pool_channels(r->channels, PoolAvgPixel{r, column});
}
template <bool kMax>
void pool_backward_vec(const PoolBackwardRow* r) {
  const bool stream = r->stream && ((uintptr_t)r->dx | (uintptr_t)(4 * r->channels)) % sizeof(Vec) == 0;
  for (int64_t column = 0; column < r->columns;)
    if (r->row_hits == 1 && pool_one_window(r, column, 2)) {
      pool_backward_window<kMax, 2>(r, column, stream);
      column += 2;
    } else {
      if (r->row_hits == 1 && pool_one_window(r, column, 1))
        pool_backward_window<kMax, 1>(r, column, stream);
      else
        pool_channels(r->channels, PoolBackwardPixel<kMax>{r, column, stream});
      ++column;
    }
  if (stream) stream_done();
}
