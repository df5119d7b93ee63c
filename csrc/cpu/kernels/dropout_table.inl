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
#pragma GCC unroll 10
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

/// Keep bits of blocks block .. block + kLanes - 1, one to a lane.
FC_INLINE IVec keep_bits_from(int64_t block, const KeepBitsSource& s) {
  uint32_t c0[kLanes], c3[kLanes];
  for (int i = 0; i < kLanes; ++i) {
    c0[i] = (uint32_t)block + (uint32_t)i;
    c3[i] = s.c3 | ((uint32_t)((block + i) >> 32) & 0xffu) << 16;
  }
  return keep_bits(iload(c0), iload(c3), s);
}

inline void keep_run(uint8_t* bits, int64_t first_block, int count, const KeepBitsSource& s) {
  for (int at = 0; at < count; at += kLanes) {
    uint32_t keep[kLanes];
    istore(keep, keep_bits_from(first_block + at, s));
    const int n = count - at < kLanes ? count - at : kLanes;
    for (int i = 0; i < n; ++i) bits[at + i] = (uint8_t)keep[i];
  }
}

// Drawing and applying in turns, here and below, so that memory is read and written while the generator works.
inline void float_run(float* y, const float* x, int64_t first_block, int64_t n, const KeepBitsSource& s,
                      const DropoutValues& v, bool stream) {
  const Vec scale = vset((float)v.scale), shift = vset((float)v.shift), dropped = vset((float)v.dropped);
  stream = stream && (uintptr_t)y % sizeof(Vec) == 0;
  uint32_t keep[kLanes];
  for (int64_t first = 0; first < n; first += 8 * kLanes, y += 8 * kLanes, x += 8 * kLanes) {
    istore(keep, keep_bits_from(first_block + first / 8, s));
    const int64_t left = n - first < 8 * kLanes ? n - first : 8 * kLanes;
    const auto kept = [&](int i, Vec value) {
      const uint32_t bits = kLanes == 16 ? keep[i / 8] | keep[i / 8 + 1] << 8 : keep[i / 8] >> (i & 7);
      return vselect(mask_of_bits(bits), vadd(vmul(value, scale), shift), dropped);
    };
    int i = 0;
    for (; i + kLanes <= left; i += kLanes) {
      const Vec out = kept(i, vload(x + i));
      if (stream)
        vstream(y + i, out);
      else
        vstore(y + i, out);
    }
    if (i < left) vstore_part(y + i, kept(i, vload_part(x + i, (int)left - i)), (int)left - i);
  }
  if (stream) stream_done();
}

// The draws of up to kDropoutChannels columns of channels-last memory, eight rows at a time: that of row r, column c is
// at position + c * pixels + r of the sample.
class ColumnDraws {
 public:
  FC_INLINE ColumnDraws(int64_t position, int64_t pixels, int channels, int rows, const KeepBitsSource& s)
      : source_(s),
        position_(position),
        pixels_(pixels),
        groups_((channels + kLanes - 1) / kLanes),
        wide_((position + kDropoutChannels * pixels + rows + 8) >> 35 != 0) {
    uint32_t any = 0;
    for (int c = 0; c < kLanes * groups_; ++c) any |= shift_[c] = (uint32_t)(position + c * pixels) & 7u;
    shifted_ = any != 0;
    set_blocks();
    if (shifted_) draw(ahead_);
  }

  /// keep[c]: bit r is set when row r of the next eight keeps column c. Columns that do not begin with a block take
  /// from two of them.
  FC_INLINE void next(uint32_t* keep) {
    if (!shifted_) return draw(keep);
    uint32_t now[kDropoutChannels];
    for (int c = 0; c < kLanes * groups_; ++c) now[c] = ahead_[c];
    draw(ahead_);
    for (int c = 0; c < kLanes * groups_; ++c) keep[c] = (now[c] | ahead_[c] << 8) >> shift_[c] & 0xffu;
  }

 private:
  FC_INLINE void set_blocks() {
    for (int c = 0; c < kLanes * groups_; ++c) {
      const int64_t block = (position_ + c * pixels_) >> 3;
      c0_[c] = (uint32_t)block;
      c3_[c] = source_.c3 | ((uint32_t)(block >> 32) & 0xffu) << 16;
    }
  }
  FC_INLINE void draw(uint32_t* keep) {
    if (wide_) set_blocks();  // the upper word of an index may change
    position_ += 8;
    for (int c = 0; c < kLanes * groups_; c += kLanes) {
      const IVec c0 = iload(c0_ + c);
      istore(keep + c, keep_bits(c0, iload(c3_ + c), source_));
      istore(c0_ + c, iadd(c0, iset(1)));
    }
  }

  const KeepBitsSource& source_;
  int64_t position_;  ///< of the blocks to be drawn next
  int64_t pixels_;
  int groups_;
  bool wide_, shifted_;
  uint32_t c0_[kDropoutChannels], c3_[kDropoutChannels], shift_[kDropoutChannels], ahead_[kDropoutChannels];
};

inline void keep_columns(uint32_t* mask, int64_t position, int64_t pixels, int channels,
                         const KeepBitsSource& s) {
  ColumnDraws draws(position, pixels, channels, 32, s);
  uint32_t keep[kDropoutChannels];
  for (int c = 0; c < channels; ++c) mask[c] = 0;
  for (int r = 0; r < 32; r += 8) {
    draws.next(keep);
    for (int c = 0; c < channels; ++c) mask[c] |= keep[c] << r;
  }
}

inline void float_columns(float* y, const float* x, int64_t position, int64_t pixels, int rows, int channels,
                          int64_t step, const KeepBitsSource& s, const DropoutValues& v, bool stream) {
  const Vec scale = vset((float)v.scale), shift = vset((float)v.shift), dropped = vset((float)v.dropped);
  stream = stream && ((uintptr_t)y | (uintptr_t)(step * 4)) % sizeof(Vec) == 0;
  ColumnDraws draws(position, pixels, channels, rows, s);
  for (int first = 0; first < rows; first += 8) {
    uint32_t keep[kDropoutChannels];
    draws.next(keep);
    for (int r = first; r < rows && r < first + 8; ++r) {
      float* to = y + r * step;
      const float* from = x + r * step;
      const IVec bit = iset(1u << (r - first));
      const auto kept = [&](int c, Vec value) {
        return vselect(icommon(iload(keep + c), bit), vadd(vmul(value, scale), shift), dropped);
      };
      int c = 0;
      for (; c + kLanes <= channels; c += kLanes) {
        const Vec out = kept(c, vload(from + c));
        if (stream)
          vstream(to + c, out);
        else
          vstore(to + c, out);
      }
      if (c < channels) vstore_part(to + c, kept(c, vload_part(from + c, channels - c)), channels - c);
    }
  }
  if (stream) stream_done();
}

constexpr DropoutKernels kDropout = {keep_run, keep_columns, dropout_tile<float, float>, float_run,
                                     float_columns};

}  // namespace
}  // namespace fastcnn::cpu::FC_ISA
