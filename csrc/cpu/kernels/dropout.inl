// Loops of dropout, written so that the compiler vectorises them. T is the stored type, A that of the arithmetic.
// Included once per instruction set (T = float) and by cpu/dropout.cpp (the other dtypes).

// Sixteen blocks at a time, one per lane: the ten rounds are then plain vertical integer arithmetic.
inline void keep_bits(uint8_t* bits, const uint32_t* c0_, const uint32_t* c3_, int count,
                      const KeepBitsSource& s) {
  constexpr int kBlocks = 16;
  for (int at = 0; at < count; at += kBlocks) {
    const int n = count - at < kBlocks ? count - at : kBlocks;
    uint32_t c0[kBlocks], c1[kBlocks], c2[kBlocks], c3[kBlocks], keep[kBlocks];
    for (int i = 0; i < kBlocks; ++i) {
      c0[i] = c0_[at + (i < n ? i : 0)];
      c3[i] = c3_[at + (i < n ? i : 0)];
      c1[i] = s.c1;
      c2[i] = s.c2;
      keep[i] = 0;
    }
    uint32_t k0 = s.k0, k1 = s.k1;
    for (int round = 0; round < kPhiloxRounds; ++round, k0 += kPhiloxWeyl0, k1 += kPhiloxWeyl1)
      for (int i = 0; i < kBlocks; ++i) philox_round(c0[i], c1[i], c2[i], c3[i], k0, k1);
    const uint32_t t = s.threshold;
    const auto add = [&](const uint32_t(&word)[kBlocks], int j) {
      for (int i = 0; i < kBlocks; ++i)
        keep[i] |= (uint32_t)((word[i] & 0xffffu) >= t) << j | (uint32_t)((word[i] >> 16) >= t) << (j + 1);
    };
    add(c0, 0);
    add(c1, 2);
    add(c2, 4);
    add(c3, 6);
    for (int i = 0; i < n; ++i) bits[at + i] = (uint8_t)keep[i];
  }
}

template <class T, class A>
void dropout_run(void* y_, const void* x_, const uint8_t* bits, int64_t n, const DropoutValues& v) {
  T* y = (T*)y_;
  const T* x = (const T*)x_;
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
                  const DropoutValues& v) {
  const A scale = A(v.scale), shift = A(v.shift), dropped = A(v.dropped);
  for (int r = 0; r < rows; ++r) {
    T* y = (T*)y_ + r * step;
    const T* x = (const T*)x_ + r * step;
    const uint32_t bit = 1u << r;
#pragma GCC ivdep
    for (int c = 0; c < channels; ++c) y[c] = T((mask[c] & bit) ? A(x[c]) * scale + shift : dropped);
  }
}
