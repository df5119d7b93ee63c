// One bit per element instead of an activation's output: loops that make and use it. Included behind pointwise.inl,
// whose formulas of the gradients they take, so that bits and outputs lead to the same gradients.

template <class Op, class T, class A>
void pack_mask_loop(uint8_t* bits, const void* y_, int64_t n, double p0, double p1) {
  const T* y = (const T*)y_;
  const A p = (A)p0, q = (A)p1;
  constexpr int kTile = 512;
  for (int64_t done = 0; done < n; done += kTile) {
    const int count = n - done < kTile ? (int)(n - done) : kTile;
    alignas(64) uint8_t passes[kTile] = {};
#pragma GCC ivdep
    for (int i = 0; i < count; ++i) passes[i] = Op::f(A(1), A(y[done + i]), p, q) == A(1);
    for (int i = 0; i < count; i += 8) {
      uint64_t eight;
      __builtin_memcpy(&eight, passes + i, 8);
      // Byte j, 0 or 1, ends up as bit j of the top byte; no two terms of the product meet.
      bits[(done + i) / 8] = (uint8_t)((eight * 0x0102040810204080u) >> 56);
    }
  }
}

/// yes or no by their bits: a choice between floats is a branch on instruction sets without a blend.
inline float choose(bool yes_wanted, float yes, float no) {
  uint32_t a, b;
  __builtin_memcpy(&a, &yes, 4);
  __builtin_memcpy(&b, &no, 4);
  const uint32_t wanted = 0u - (uint32_t)yes_wanted;
  a = (a & wanted) | (b & ~wanted);
  __builtin_memcpy(&yes, &a, 4);
  return yes;
}
inline double choose(bool yes_wanted, double yes, double no) { return yes_wanted ? yes : no; }

/// kLeaky: slopes other than 1 are p0, else they are 0.
template <class T, class A, bool kLeaky>
void apply_mask_loop(void* y_, const void* a_, const uint8_t* bits, int64_t first, int64_t n, int64_t sa,
                     double p0) {
  T* y = (T*)y_;
  const T* a = (const T*)a_;
  const A p = (A)p0;
  constexpr int kTile = 512;
  for (int64_t done = 0; done < n;) {
    const int skip = (int)((first + done) % 8);  // of the first byte's bits
    const int count = n - done < kTile - skip ? (int)(n - done) : kTile - skip;
    alignas(64) uint8_t passes[kTile];  // a byte per bit, not 0 where it is set
    const uint8_t* from = bits + (first + done) / 8;
    for (int i = 0; i < skip + count; i += 8) {
      const uint64_t eight = (from[i / 8] * 0x0101010101010101u) & 0x8040201008040201u;
      __builtin_memcpy(passes + i, &eight, 8);
    }
    const uint8_t* pass = passes + skip;
    T* out = y + done;
    const T* in = a + done * sa;
    if (sa == 1) {
#pragma GCC ivdep
      for (int i = 0; i < count; ++i)
        out[i] = T(choose(pass[i] != 0, A(in[i]), kLeaky ? A(in[i]) * p : A(0)));
    } else {
#pragma GCC ivdep
      for (int i = 0; i < count; ++i)
        out[i] = T(choose(pass[i] != 0, A(in[i * sa]), kLeaky ? A(in[i * sa]) * p : A(0)));
    }
    done += count;
  }
}

/// nullptr for other ops.
template <class T, class A>
PackMaskFn pack_mask_of(Binary op) {
  switch (op) {
    case Binary::relu_backward: return pack_mask_loop<ReluBackward, T, A>;
    case Binary::relu6_backward: return pack_mask_loop<Relu6Backward, T, A>;
    case Binary::hardtanh_backward: return pack_mask_loop<HardtanhBackward, T, A>;
    case Binary::leaky_relu_backward: return pack_mask_loop<LeakyReluBackward, T, A>;
    default: return nullptr;
  }
}

template <class T, class A>
ApplyMaskFn apply_mask_of(Binary op) {
  if (op == Binary::leaky_relu_backward) return apply_mask_loop<T, A, true>;
  return apply_mask_loop<T, A, false>;
}
