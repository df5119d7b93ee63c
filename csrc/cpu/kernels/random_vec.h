// Vectors of 32-bit unsigned lanes for Philox, one block per instruction set, beside vec.h: IVec has kLanes lanes.
#pragma once

#include "cpu/kernels/vec.h"

namespace fastcnn::cpu::FC_ISA {
namespace {

#if defined(FC_VEC_AVX512)

using IVec = __m512i;
FC_INLINE IVec iset(uint32_t x) { return _mm512_set1_epi32((int)x); }
FC_INLINE IVec iload(const uint32_t* p) { return _mm512_loadu_si512(p); }
FC_INLINE void istore(uint32_t* p, IVec v) { _mm512_storeu_si512(p, v); }
FC_INLINE IVec iand(IVec a, IVec b) { return _mm512_and_si512(a, b); }
FC_INLINE IVec ior(IVec a, IVec b) { return _mm512_or_si512(a, b); }
FC_INLINE IVec ixor(IVec a, IVec b) { return _mm512_xor_si512(a, b); }
FC_INLINE IVec iadd(IVec a, IVec b) { return _mm512_add_epi32(a, b); }
FC_INLINE IVec ihigh16(IVec a) { return _mm512_maskz_srli_epi32(0xFFFF, a, 16); }
/// Lanes of `value` where a > b as signed numbers, else 0.
FC_INLINE IVec iwhere_greater(IVec a, IVec b, IVec value) {
  return _mm512_maskz_mov_epi32(_mm512_cmpgt_epi32_mask(a, b), value);
}
/// Upper and lower halves of the 64-bit products a * m. (The zero-masking forms, all lanes on, are the same
/// instructions; the plain ones carry an undefined operand that some compilers warn about.)
FC_INLINE void imul_wide(IVec a, IVec m, IVec& high, IVec& low) {
  const __mmask8 all = 0xFF;
  const IVec even = _mm512_maskz_mul_epu32(all, a, m);
  const IVec odd = _mm512_maskz_mul_epu32(all, _mm512_maskz_srli_epi64(all, a, 32), m);
  high = _mm512_mask_shuffle_epi32(odd, 0x5555, even, _MM_PERM_DDBB);  // shifts and blends at once
  low = _mm512_mask_shuffle_epi32(even, 0xAAAA, odd, _MM_PERM_CCAA);
}
/// Lanes where a and b have a common bit.
FC_INLINE Mask icommon(IVec a, IVec b) { return _mm512_test_epi32_mask(a, b); }
/// Lane i is chosen when bit i is set.
FC_INLINE Mask mask_of_bits(uint32_t bits) { return (Mask)bits; }

#elif defined(FC_VEC_AVX2)

using IVec = __m256i;
FC_INLINE IVec iset(uint32_t x) { return _mm256_set1_epi32((int)x); }
FC_INLINE IVec iload(const uint32_t* p) { return _mm256_loadu_si256((const __m256i*)p); }
FC_INLINE void istore(uint32_t* p, IVec v) { _mm256_storeu_si256((__m256i*)p, v); }
FC_INLINE IVec iand(IVec a, IVec b) { return _mm256_and_si256(a, b); }
FC_INLINE IVec ior(IVec a, IVec b) { return _mm256_or_si256(a, b); }
FC_INLINE IVec ixor(IVec a, IVec b) { return _mm256_xor_si256(a, b); }
FC_INLINE IVec iadd(IVec a, IVec b) { return _mm256_add_epi32(a, b); }
FC_INLINE IVec ihigh16(IVec a) { return _mm256_srli_epi32(a, 16); }
FC_INLINE IVec iwhere_greater(IVec a, IVec b, IVec value) { return iand(_mm256_cmpgt_epi32(a, b), value); }
FC_INLINE void imul_wide(IVec a, IVec m, IVec& high, IVec& low) {
  const IVec even = _mm256_mul_epu32(a, m), odd = _mm256_mul_epu32(_mm256_srli_epi64(a, 32), m);
  high = _mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xAA);
  low = _mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0xAA);
}
/// b has one bit to a lane, here and below.
FC_INLINE Mask icommon(IVec a, IVec b) { return _mm256_castsi256_ps(_mm256_cmpeq_epi32(iand(a, b), b)); }
FC_INLINE Mask mask_of_bits(uint32_t bits) {
  const IVec lane = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
  return _mm256_castsi256_ps(_mm256_cmpeq_epi32(iand(iset(bits), lane), lane));
}

#elif defined(FC_VEC_SSE)

using IVec = __m128i;
FC_INLINE IVec iset(uint32_t x) { return _mm_set1_epi32((int)x); }
FC_INLINE IVec iload(const uint32_t* p) { return _mm_loadu_si128((const __m128i*)p); }
FC_INLINE void istore(uint32_t* p, IVec v) { _mm_storeu_si128((__m128i*)p, v); }
FC_INLINE IVec iand(IVec a, IVec b) { return _mm_and_si128(a, b); }
FC_INLINE IVec ior(IVec a, IVec b) { return _mm_or_si128(a, b); }
FC_INLINE IVec ixor(IVec a, IVec b) { return _mm_xor_si128(a, b); }
FC_INLINE IVec iadd(IVec a, IVec b) { return _mm_add_epi32(a, b); }
FC_INLINE IVec ihigh16(IVec a) { return _mm_srli_epi32(a, 16); }
FC_INLINE IVec iwhere_greater(IVec a, IVec b, IVec value) { return iand(_mm_cmpgt_epi32(a, b), value); }
FC_INLINE void imul_wide(IVec a, IVec m, IVec& high, IVec& low) {
  const IVec even = _mm_mul_epu32(a, m), odd = _mm_mul_epu32(_mm_srli_epi64(a, 32), m);
  high = _mm_blend_epi16(_mm_srli_epi64(even, 32), odd, 0xCC);
  low = _mm_blend_epi16(even, _mm_slli_epi64(odd, 32), 0xCC);
}
FC_INLINE Mask icommon(IVec a, IVec b) { return _mm_castsi128_ps(_mm_cmpeq_epi32(iand(a, b), b)); }
FC_INLINE Mask mask_of_bits(uint32_t bits) {
  const IVec lane = _mm_setr_epi32(1, 2, 4, 8);
  return _mm_castsi128_ps(_mm_cmpeq_epi32(iand(iset(bits), lane), lane));
}

#elif defined(FC_VEC_NEON)

using IVec = uint32x4_t;
FC_INLINE IVec iset(uint32_t x) { return vdupq_n_u32(x); }
FC_INLINE IVec iload(const uint32_t* p) { return vld1q_u32(p); }
FC_INLINE void istore(uint32_t* p, IVec v) { vst1q_u32(p, v); }
FC_INLINE IVec iand(IVec a, IVec b) { return vandq_u32(a, b); }
FC_INLINE IVec ior(IVec a, IVec b) { return vorrq_u32(a, b); }
FC_INLINE IVec ixor(IVec a, IVec b) { return veorq_u32(a, b); }
FC_INLINE IVec iadd(IVec a, IVec b) { return vaddq_u32(a, b); }
FC_INLINE IVec ihigh16(IVec a) { return vshrq_n_u32(a, 16); }
FC_INLINE IVec iwhere_greater(IVec a, IVec b, IVec value) {
  return vandq_u32(vcgtq_s32(vreinterpretq_s32_u32(a), vreinterpretq_s32_u32(b)), value);
}
FC_INLINE void imul_wide(IVec a, IVec m, IVec& high, IVec& low) {
  const uint32x4_t first = vreinterpretq_u32_u64(vmull_u32(vget_low_u32(a), vget_low_u32(m)));
  const uint32x4_t second = vreinterpretq_u32_u64(vmull_u32(vget_high_u32(a), vget_high_u32(m)));
  low = vuzp1q_u32(first, second);
  high = vuzp2q_u32(first, second);
}
FC_INLINE Mask icommon(IVec a, IVec b) { return vtstq_u32(a, b); }
FC_INLINE Mask mask_of_bits(uint32_t bits) {
  const uint32_t lanes[4] = {1, 2, 4, 8};
  return vtstq_u32(vdupq_n_u32(bits), vld1q_u32(lanes));
}

#endif

}  // namespace
}  // namespace fastcnn::cpu::FC_ISA
