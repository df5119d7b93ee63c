// Loops of dropout, written so that the compiler vectorises them. T is the stored type, A that of the arithmetic.
// Included once per instruction set (T = float) and by cpu/dropout.cpp (the other dtypes).

template <class T, class A>
void dropout_run(T* y, const T* x, const uint8_t* bits, int64_t n, const DropoutValues& v) {
  const A scale = A(v.scale), shift = A(v.shift), dropped = A(v.dropped);
  const int64_t whole = n / 8;
  for (int64_t b = 0; b < whole; ++b) {
    const uint32_t m = bits[b];
#pragma GCC ivdep
    for (int j = 0; j < 8; ++j) y[8 * b + j] = T((m >> j & 1u) ? A(x[8 * b + j]) * scale + shift : dropped);
  }
  for (int64_t i = 8 * whole; i < n; ++i)
    y[i] = T((bits[whole] >> (i & 7) & 1u) ? A(x[i]) * scale + shift : dropped);
}

template <class T, class A>
void dropout_tile(void* y_, const void* x_, const uint32_t* mask, int rows, int channels, int64_t step,
                  const DropoutValues& v, bool stream) {
  const A scale = A(v.scale), shift = A(v.shift), dropped = A(v.dropped);
  for (int r = 0; r < rows; ++r) {
    T* y = (T*)y_ + r * step;
    const T* x = (const T*)x_ + r * step;
    const uint32_t bit = 1u << r;
    T tile[kDropoutChannels];
    T* out = stream ? tile : y;
#pragma GCC ivdep
    for (int c = 0; c < channels; ++c) out[c] = T((mask[c] & bit) ? A(x[c]) * scale + shift : dropped);
    if (stream) stream_row(y, tile, channels);
  }
  if (stream) stream_done();
}
