// One vector of floats under one set of names for every ISA: kLanes floats in a Vec, a comparison in a Mask.
// Only what kernels use; a new operation is one line in each block below.
//
// The translation unit says which block it wants (FC_VEC_AVX512, FC_VEC_AVX2, FC_VEC_SSE, FC_VEC_NEON), not
// the compiler's macros, so that extra -m flags of a user's build cannot change what "baseline" means.
// Rounding: vfma is fused where the ISA has it and multiply-then-add on baseline, so bits may differ between
// ISAs; the files are compiled with -ffp-contract=off, so nothing else is ever fused and the bits of an
// element depend neither on the tile nor on the lane it was computed in. Partial loads and stores touch the
// first n elements only (0 <= n <= kLanes); missing lanes read as zero.
#pragma once

#include <stdint.h>
#if defined(FC_VEC_NEON)
#include <arm_neon.h>
#else
#include <immintrin.h>
#endif

#define FC_INLINE inline __attribute__((always_inline))

namespace fastcnn::cpu::FC_ISA {
namespace {

#if defined(FC_VEC_AVX512)

constexpr int kLanes = 16;
using Vec = __m512;
using Mask = __mmask16;
FC_INLINE Vec vzero() { return _mm512_setzero_ps(); }
FC_INLINE Vec vset(float x) { return _mm512_set1_ps(x); }
FC_INLINE Vec vload(const float* p) { return _mm512_loadu_ps(p); }
FC_INLINE void vstore(float* p, Vec v) { _mm512_storeu_ps(p, v); }
FC_INLINE void vstream(float* p, Vec v) { _mm512_stream_ps(p, v); }
FC_INLINE Mask first_lanes(int n) { return static_cast<Mask>((1u << n) - 1u); }
FC_INLINE Vec vload_part(const float* p, int n) { return _mm512_maskz_loadu_ps(first_lanes(n), p); }
FC_INLINE void vstore_part(float* p, Vec v, int n) { _mm512_mask_storeu_ps(p, first_lanes(n), v); }
FC_INLINE Vec vadd(Vec a, Vec b) { return _mm512_add_ps(a, b); }
FC_INLINE Vec vsub(Vec a, Vec b) { return _mm512_sub_ps(a, b); }
FC_INLINE Vec vmul(Vec a, Vec b) { return _mm512_mul_ps(a, b); }
FC_INLINE Vec vdiv(Vec a, Vec b) { return _mm512_div_ps(a, b); }
FC_INLINE Vec vsqrt(Vec a) { return _mm512_sqrt_ps(a); }
FC_INLINE Vec vfma(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }
// GCC 12 takes the operand that _mm512_max_ps leaves out for an uninitialised one.
FC_INLINE Vec vmax(Vec a, Vec b) { return _mm512_maskz_max_ps(0xffff, a, b); }
FC_INLINE Vec vmin(Vec a, Vec b) { return _mm512_maskz_min_ps(0xffff, a, b); }
FC_INLINE Mask vless(Vec a, Vec b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
FC_INLINE Mask vunordered(Vec a, Vec b) { return _mm512_cmp_ps_mask(a, b, _CMP_UNORD_Q); }
FC_INLINE Vec vselect(Mask m, Vec yes, Vec no) { return _mm512_mask_blend_ps(m, no, yes); }
FC_INLINE Mask mask_or(Mask a, Mask b) { return (Mask)(a | b); }

#elif defined(FC_VEC_AVX2)

constexpr int kLanes = 8;
using Vec = __m256;
using Mask = __m256;
FC_INLINE Vec vzero() { return _mm256_setzero_ps(); }
FC_INLINE Vec vset(float x) { return _mm256_set1_ps(x); }
FC_INLINE Vec vload(const float* p) { return _mm256_loadu_ps(p); }
FC_INLINE void vstore(float* p, Vec v) { _mm256_storeu_ps(p, v); }
FC_INLINE void vstream(float* p, Vec v) { _mm256_stream_ps(p, v); }
FC_INLINE __m256i first_lanes(int n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
FC_INLINE Vec vload_part(const float* p, int n) { return _mm256_maskload_ps(p, first_lanes(n)); }
FC_INLINE void vstore_part(float* p, Vec v, int n) { _mm256_maskstore_ps(p, first_lanes(n), v); }
FC_INLINE Vec vadd(Vec a, Vec b) { return _mm256_add_ps(a, b); }
FC_INLINE Vec vsub(Vec a, Vec b) { return _mm256_sub_ps(a, b); }
FC_INLINE Vec vmul(Vec a, Vec b) { return _mm256_mul_ps(a, b); }
FC_INLINE Vec vdiv(Vec a, Vec b) { return _mm256_div_ps(a, b); }
FC_INLINE Vec vsqrt(Vec a) { return _mm256_sqrt_ps(a); }
FC_INLINE Vec vfma(Vec a, Vec b, Vec c) { return _mm256_fmadd_ps(a, b, c); }
FC_INLINE Vec vmax(Vec a, Vec b) { return _mm256_max_ps(a, b); }
FC_INLINE Vec vmin(Vec a, Vec b) { return _mm256_min_ps(a, b); }
FC_INLINE Mask vless(Vec a, Vec b) { return _mm256_cmp_ps(a, b, _CMP_LT_OQ); }
FC_INLINE Mask vunordered(Vec a, Vec b) { return _mm256_cmp_ps(a, b, _CMP_UNORD_Q); }
FC_INLINE Vec vselect(Mask m, Vec yes, Vec no) { return _mm256_blendv_ps(no, yes, m); }
FC_INLINE Mask mask_or(Mask a, Mask b) { return _mm256_or_ps(a, b); }

#elif defined(FC_VEC_SSE)

constexpr int kLanes = 4;
using Vec = __m128;
using Mask = __m128;
FC_INLINE Vec vzero() { return _mm_setzero_ps(); }
FC_INLINE Vec vset(float x) { return _mm_set1_ps(x); }
FC_INLINE Vec vload(const float* p) { return _mm_loadu_ps(p); }
FC_INLINE void vstore(float* p, Vec v) { _mm_storeu_ps(p, v); }
FC_INLINE void vstream(float* p, Vec v) { _mm_stream_ps(p, v); }
FC_INLINE Vec vload_part(const float* p, int n) {
  switch (n) {
    case 0: return _mm_setzero_ps();
    case 1: return _mm_load_ss(p);
    case 2: return _mm_setr_ps(p[0], p[1], 0.0f, 0.0f);
    case 3: return _mm_setr_ps(p[0], p[1], p[2], 0.0f);
    default: return _mm_loadu_ps(p);
  }
}
FC_INLINE void vstore_part(float* p, Vec v, int n) {
  float lanes[4];
  _mm_storeu_ps(lanes, v);
  for (int i = 0; i < n; ++i) p[i] = lanes[i];
}
FC_INLINE Vec vadd(Vec a, Vec b) { return _mm_add_ps(a, b); }
FC_INLINE Vec vsub(Vec a, Vec b) { return _mm_sub_ps(a, b); }
FC_INLINE Vec vmul(Vec a, Vec b) { return _mm_mul_ps(a, b); }
FC_INLINE Vec vdiv(Vec a, Vec b) { return _mm_div_ps(a, b); }
FC_INLINE Vec vsqrt(Vec a) { return _mm_sqrt_ps(a); }
FC_INLINE Vec vfma(Vec a, Vec b, Vec c) { return _mm_add_ps(_mm_mul_ps(a, b), c); }
FC_INLINE Vec vmax(Vec a, Vec b) { return _mm_max_ps(a, b); }
FC_INLINE Vec vmin(Vec a, Vec b) { return _mm_min_ps(a, b); }
FC_INLINE Mask vless(Vec a, Vec b) { return _mm_cmplt_ps(a, b); }
FC_INLINE Mask vunordered(Vec a, Vec b) { return _mm_cmpunord_ps(a, b); }
FC_INLINE Vec vselect(Mask m, Vec yes, Vec no) { return _mm_blendv_ps(no, yes, m); }
FC_INLINE Mask mask_or(Mask a, Mask b) { return _mm_or_ps(a, b); }

#elif defined(FC_VEC_NEON)

constexpr int kLanes = 4;
using Vec = float32x4_t;
using Mask = uint32x4_t;
FC_INLINE Vec vzero() { return vdupq_n_f32(0.0f); }
FC_INLINE Vec vset(float x) { return vdupq_n_f32(x); }
FC_INLINE Vec vload(const float* p) { return vld1q_f32(p); }
FC_INLINE void vstore(float* p, Vec v) { vst1q_f32(p, v); }
FC_INLINE void vstream(float* p, Vec v) { vst1q_f32(p, v); }
FC_INLINE Vec vload_part(const float* p, int n) {
  float lanes[4] = {0.0f, 0.0f, 0.0f, 0.0f};
  for (int i = 0; i < n; ++i) lanes[i] = p[i];
  return vld1q_f32(lanes);
}
FC_INLINE void vstore_part(float* p, Vec v, int n) {
  float lanes[4];
  vst1q_f32(lanes, v);
  for (int i = 0; i < n; ++i) p[i] = lanes[i];
}
FC_INLINE Vec vadd(Vec a, Vec b) { return vaddq_f32(a, b); }
FC_INLINE Vec vsub(Vec a, Vec b) { return vsubq_f32(a, b); }
FC_INLINE Vec vmul(Vec a, Vec b) { return vmulq_f32(a, b); }
FC_INLINE Vec vdiv(Vec a, Vec b) { return vdivq_f32(a, b); }
FC_INLINE Vec vsqrt(Vec a) { return vsqrtq_f32(a); }
FC_INLINE Vec vfma(Vec a, Vec b, Vec c) { return vfmaq_f32(c, a, b); }
// x86's rule (the second operand if either is NaN), so that ReLU and pooling treat NaN alike everywhere.
FC_INLINE Vec vmax(Vec a, Vec b) { return vbslq_f32(vcgtq_f32(a, b), a, b); }
FC_INLINE Vec vmin(Vec a, Vec b) { return vbslq_f32(vcltq_f32(a, b), a, b); }
FC_INLINE Mask vless(Vec a, Vec b) { return vcltq_f32(a, b); }
FC_INLINE Mask vunordered(Vec a, Vec b) { return vmvnq_u32(vandq_u32(vceqq_f32(a, a), vceqq_f32(b, b))); }
FC_INLINE Vec vselect(Mask m, Vec yes, Vec no) { return vbslq_f32(m, yes, no); }
FC_INLINE Mask mask_or(Mask a, Mask b) { return vorrq_u32(a, b); }

#else
#error "define one of FC_VEC_AVX512, FC_VEC_AVX2, FC_VEC_SSE, FC_VEC_NEON before including a kernel source"
#endif

/// vstream writes a vector, aligned to its size, past the caches: for data that is read much later. Before another
/// thread reads it, the writer calls this.
FC_INLINE void stream_done() {
#if !defined(FC_VEC_NEON)
  _mm_sfence();
#endif
}

/// Writes n floats, past the caches where y is aligned to a vector. Then stream_done before others read.
FC_INLINE void stream_row(float* y, const float* v, int n) {
  int i = 0;
  if ((uintptr_t)y % sizeof(Vec) == 0)
    for (; i + kLanes <= n; i += kLanes) vstream(y + i, vload(v + i));
  for (; i < n; ++i) y[i] = v[i];
}

/// Writes the first n lanes, whole numbers from 0 to 255, as bytes.
FC_INLINE void store_bytes(uint8_t* p, Vec v, int n) {
#if defined(FC_VEC_AVX512)
  _mm512_mask_cvtepi32_storeu_epi8(p, first_lanes(n), _mm512_maskz_cvtps_epi32(0xffff, v));
#else
  uint8_t bytes[16];
#if defined(FC_VEC_AVX2)
  const __m256i whole = _mm256_cvtps_epi32(v);
  const __m128i words = _mm_packus_epi32(_mm256_castsi256_si128(whole), _mm256_extracti128_si256(whole, 1));
  _mm_storeu_si128((__m128i*)bytes, _mm_packus_epi16(words, words));
#elif defined(FC_VEC_SSE)
  const __m128i whole = _mm_cvtps_epi32(v), words = _mm_packus_epi32(whole, whole);
  _mm_storeu_si128((__m128i*)bytes, _mm_packus_epi16(words, words));
#else
  const uint16x4_t words = vmovn_u32(vcvtq_u32_f32(v));
  vst1_u8(bytes, vmovn_u16(vcombine_u16(words, words)));
#endif
  if (n == kLanes)
    __builtin_memcpy(p, bytes, kLanes);
  else
    for (int i = 0; i < n; ++i) p[i] = bytes[i];
#endif
}
/// Lanes whose byte, of the first n at p, is `value`; those from n on are of no account.
FC_INLINE Mask bytes_equal(const uint8_t* p, uint8_t value, int n) {
#if defined(FC_VEC_AVX512)
  return _mm_cmpeq_epi8_mask(_mm_maskz_loadu_epi8(first_lanes(n), p), _mm_set1_epi8((char)value));
#else
  uint8_t bytes[16] = {};
  if (n == kLanes)
    __builtin_memcpy(bytes, p, kLanes);
  else
    for (int i = 0; i < n; ++i) bytes[i] = p[i];
#if defined(FC_VEC_AVX2)
  const __m256i wide = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i*)bytes));
  return _mm256_castsi256_ps(_mm256_cmpeq_epi32(wide, _mm256_set1_epi32(value)));
#elif defined(FC_VEC_SSE)
  const __m128i wide = _mm_cvtepu8_epi32(_mm_loadu_si128((const __m128i*)bytes));
  return _mm_castsi128_ps(_mm_cmpeq_epi32(wide, _mm_set1_epi32(value)));
#else
  return vceqq_u32(vmovl_u16(vget_low_u16(vmovl_u8(vld1_u8(bytes)))), vdupq_n_u32(value));
#endif
#endif
}

/// Sum of the lanes, halves first: the order is a function of kLanes only.
FC_INLINE float vsum(Vec v) {
#if defined(FC_VEC_NEON)
  const float32x2_t half = vadd_f32(vget_low_f32(v), vget_high_f32(v));
  return vget_lane_f32(half, 0) + vget_lane_f32(half, 1);
#else
#if defined(FC_VEC_AVX512)
  const __m256 eight =
      _mm256_add_ps(_mm512_maskz_extractf32x8_ps(0xff, v, 0), _mm512_maskz_extractf32x8_ps(0xff, v, 1));
#elif defined(FC_VEC_AVX2)
  const __m256 eight = v;
#endif
#if defined(FC_VEC_SSE)
  __m128 four = v;
#else
  __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
#endif
  four = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(four, _mm_movehdup_ps(four)));
#endif
}

}  // namespace
}  // namespace fastcnn::cpu::FC_ISA
