// Depthwise kernels (interface in depthwise.h), any geometry. Four pixels share each load of a weight vector; the
// weight gradient keeps four vectors of sums in registers over a whole row.
#pragma once

#include "cpu/kernels/depthwise.h"
#include "cpu/kernels/depthwise_pixel_sums.inl"
#include "cpu/kernels/depthwise_quads.inl"
#include "cpu/kernels/depthwise_row_sums.inl"
#include "cpu/kernels/depthwise_rows.inl"
#include "cpu/kernels/depthwise_spread.inl"
#include "cpu/kernels/depthwise_sums.inl"
#include "cpu/kernels/vec.h"

namespace fastcnn::cpu::FC_ISA {
namespace {

/// PIXELS pixels, one vector of channels of which the first `valid` exist.
template <int PIXELS, bool WHOLE>
FC_INLINE void depthwise_vector(const DepthwiseRow* d, int64_t pixel, int64_t c, int valid) {
  Vec sum[PIXELS];
#pragma GCC unroll 4
  for (int i = 0; i < PIXELS; ++i) sum[i] = vzero();
  for (int64_t tap = 0; tap < d->taps; ++tap) {
    const float* w = d->filter[tap] + c;
    const float* x = d->source[tap] + pixel * d->source_step + c;
    const Vec wv = WHOLE ? vload(w) : vload_part(w, valid);
#pragma GCC unroll 4
    for (int i = 0; i < PIXELS; ++i) {
      const float* at = x + i * d->source_step;
      sum[i] = vfma(WHOLE ? vload(at) : vload_part(at, valid), wv, sum[i]);
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < PIXELS; ++i) {
    float* at = d->out + (pixel + i) * d->out_step + c;
    if (WHOLE)
      vstore(at, sum[i]);
    else
      vstore_part(at, sum[i], valid);
  }
}

template <int PIXELS>
FC_INLINE void depthwise_pixels(const DepthwiseRow* d, int64_t pixel) {
  int64_t c = 0;
  for (; c + kLanes <= d->channels; c += kLanes) depthwise_vector<PIXELS, true>(d, pixel, c, kLanes);
  if (c < d->channels) depthwise_vector<PIXELS, false>(d, pixel, c, static_cast<int>(d->channels - c));
}

void depthwise_row(const DepthwiseRow* d) {
  int64_t pixel = 0;
  for (; pixel + 4 <= d->pixels; pixel += 4) depthwise_pixels<4>(d, pixel);
  for (; pixel < d->pixels; ++pixel) depthwise_pixels<1>(d, pixel);
}

void depthwise_weight(const float* x, int64_t x_step, const float* dy, int64_t dy_step, int64_t pixels,
                      int64_t channels, float* sum) {
  int64_t c = 0;
  for (; c + 4 * kLanes <= channels; c += 4 * kLanes) {
    Vec s[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) s[i] = vload(sum + c + i * kLanes);
    for (int64_t q = 0; q < pixels; ++q)
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i)
        s[i] = vfma(vload(x + q * x_step + c + i * kLanes), vload(dy + q * dy_step + c + i * kLanes), s[i]);
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) vstore(sum + c + i * kLanes, s[i]);
  }
  for (; c < channels; c += kLanes) {
    const int valid = static_cast<int>(channels - c < kLanes ? channels - c : kLanes);
    Vec s = vload_part(sum + c, valid);
    for (int64_t q = 0; q < pixels; ++q)
      s = vfma(vload_part(x + q * x_step + c, valid), vload_part(dy + q * dy_step + c, valid), s);
    vstore_part(sum + c, s, valid);
  }
}

// clang-format off
#define FC_TAPS(f, stride) {f<1, stride>, f<2, stride>, f<3, stride>, f<4, stride>, f<5, stride>, f<6, stride>, f<7, stride>}
constexpr DepthwiseKernels kDepthwise = {
    {FC_TAPS(depthwise_rows, 1), FC_TAPS(depthwise_rows, 2)},
#if defined(FC_VEC_AVX512) || defined(FC_VEC_NEON)
    {depthwise_quads<1, 4, 4>, depthwise_quads<2, 4, 4>},
#else
    {},
#endif
    depthwise_quads<2, 2, 1>,
    depthwise_spread,
    {FC_TAPS(depthwise_sums, 1), FC_TAPS(depthwise_sums, 2)},
    {depthwise_row_sums<2>, depthwise_row_sums<4>},
    {{depthwise_pixel_sums<1, 1>, depthwise_pixel_sums<1, 2>, depthwise_pixel_sums<1, 3>,
      depthwise_pixel_sums<1, 4>},
     {depthwise_pixel_sums<2, 1>, depthwise_pixel_sums<2, 2>}},
    depthwise_row,
    depthwise_weight,
};
#undef FC_TAPS
// clang-format on

}  // namespace
}  // namespace fastcnn::cpu::FC_ISA
