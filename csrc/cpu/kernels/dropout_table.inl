// Keep bits from Philox, one block per lane, and the float32 loops of dropout, for one instruction set.
#pragma once

#include "common/philox.h"
#include "cpu/kernels/dropout.h"
#include "cpu/kernels/random_vec.h"

namespace fastcnn::cpu::FC_ISA {
namespace {

#include "cpu/kernels/dropout.inl"

// Eight keep bits for each lane's block (counter words c0, c3).
FC_INLINE IVec keep_bits(IVec c0, IVec c3, const KeepBitsSource& s) {
  const IVec m0 = iset(kPhiloxMultiplier0), m1 = iset(kPhiloxMultiplier1);
  IVec c1 = iset(s.c1), c2 = iset(s.c2);
  uint32_t k0 = s.k0, k1 = s.k1;
  for (int round = 0; round < kPhiloxRounds; ++round, k0 += kPhiloxWeyl0, k1 += kPhiloxWeyl1) {
    IVec high0, low0, high1, low1;
    imul_wide(c0, m0, high0, low0);
    imul_wide(c2, m1, high1, low1);
    c0 = ixor(ixor(high1, c1), iset(k0));
    c1 = low1;
    c2 = ixor(ixor(high0, c3), iset(k1));
    c3 = low0;
  }
  // draw >= threshold as draw > threshold - 1: draws have 16 bits, so the signed comparison is right, also for 0.
  const IVec below = iset(s.threshold - 1), low = iset(0xffffu);
  const auto pair = [&](IVec word, uint32_t bit) {
    return ior(iwhere_greater(iand(word, low), below, iset(bit)),
               iwhere_greater(ihigh16(word), below, iset(2 * bit)));
  };
  return ior(ior(pair(c0, 1), pair(c1, 4)), ior(pair(c2, 16), pair(c3, 64)));
}

inline void keep_run(uint8_t* bits, int64_t first_block, int count, const KeepBitsSource& s) {
  for (int at = 0; at < count; at += kLanes) {
    uint32_t c0[kLanes], c3[kLanes], keep[kLanes];
    for (int i = 0; i < kLanes; ++i) {
      c0[i] = (uint32_t)(first_block + at + i);
      c3[i] = s.c3 | ((uint32_t)((first_block + at + i) >> 32) & 0xffu) << 16;
    }
    istore(keep, keep_bits(iload(c0), iload(c3), s));
    const int n = count - at < kLanes ? count - at : kLanes;
    for (int i = 0; i < n; ++i) bits[at + i] = (uint8_t)keep[i];
  }
}

// 32 consecutive positions touch five blocks, or four where they begin with one; the first block's leading bits are
// shifted out.
inline void keep_columns(uint32_t* mask, int64_t position, int64_t pixels, int channels,
                         const KeepBitsSource& s) {
  for (int at = 0; at < channels; at += kLanes) {
    uint32_t c0[kLanes], c3[kLanes], word[kLanes], shift[kLanes], next[kLanes];
    uint32_t shifted = 0;
    for (int i = 0; i < kLanes; ++i) {
      word[i] = next[i] = 0;
      shift[i] = (uint32_t)(position + (at + i) * pixels) & 7u;
      shifted |= shift[i];
    }
    const int blocks = shifted ? 5 : 4;
    for (int b = 0; b < blocks; ++b) {
      for (int i = 0; i < kLanes; ++i) {
        const int64_t block = ((position + (at + i) * pixels) >> 3) + b;
        c0[i] = (uint32_t)block;
        c3[i] = s.c3 | ((uint32_t)(block >> 32) & 0xffu) << 16;
      }
      istore(next, keep_bits(iload(c0), iload(c3), s));
      if (b < 4)
        for (int i = 0; i < kLanes; ++i) word[i] |= next[i] << (8 * b);
    }
    const int n = channels - at < kLanes ? channels - at : kLanes;
    for (int i = 0; i < n; ++i)
      mask[at + i] = shifted ? word[i] >> shift[i] | next[i] << 1 << (31 - shift[i]) : word[i];
  }
}

inline void float_run(void* y_, const void* x_, const uint8_t* bits, int64_t n, const DropoutValues& v,
                      bool stream) {
  float* y = (float*)y_;
  const float* x = (const float*)x_;
  const Vec scale = vset((float)v.scale), shift = vset((float)v.shift), dropped = vset((float)v.dropped);
  stream = stream && (uintptr_t)y % sizeof(Vec) == 0;
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    uint32_t keep;
    if (kLanes == 16) {
      keep = bits[i / 8] | (uint32_t)bits[i / 8 + 1] << 8;
    } else {
      keep = (uint32_t)bits[i / 8] >> (i & 7);
    }
    const Vec out = vselect(mask_of_bits(keep), vadd(vmul(vload(x + i), scale), shift), dropped);
    if (stream)
      vstream(y + i, out);
    else
      vstore(y + i, out);
  }
  for (; i < n; ++i)
    y[i] = bits[i / 8] >> (i & 7) & 1 ? x[i] * (float)v.scale + (float)v.shift : (float)v.dropped;
  if (stream) stream_done();
}

constexpr DropoutKernels kDropout = {keep_run, keep_columns, float_run, dropout_tile<float, float>};

}  // namespace
}  // namespace fastcnn::cpu::FC_ISA
