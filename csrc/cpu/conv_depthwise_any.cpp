// Rows of a depthwise convolution of any geometry: for each pixel (or run of pixels away from the borders) the taps'
// sources are a list of pointers.
#include "cpu/conv_depthwise.h"

namespace fastcnn::cpu {
namespace {

void finish_pixel(const ConvArgs& args, const Volume& residual, const DepthwiseSpace& space,
                  int64_t residual_at, float* y) {
  const ConvProblem& p = *args.problem;
  const float low = p.epilogue.low(), high = p.epilogue.high();
  if (p.epilogue.scale)
    for (int64_t k = 0; k < p.K; ++k) y[k] = y[k] * space.scale[k] + space.bias[k];
  else if (p.epilogue.bias)
    for (int64_t k = 0; k < p.K; ++k) y[k] += space.bias[k];
  if (p.epilogue.residual)
    for (int64_t k = 0; k < p.K; ++k) y[k] += residual.data[residual_at + k * residual.channel];
  for (int64_t k = 0; k < p.K; ++k) y[k] = y[k] < low ? low : y[k] > high ? high : y[k];
}

}  // namespace

void depthwise_finish(const ConvArgs& args, const Volume& residual, const DepthwiseSpace& space, int64_t n,
                      int64_t d, int64_t h, const DepthwiseOut& row) {
  const ConvProblem& p = *args.problem;
  const int64_t at = n * residual.batch + d * residual.axis[0] + h * residual.axis[1];
  for (int64_t q = 0; q < p.out[2]; ++q)
    finish_pixel(args, residual, space, at + q * residual.axis[2], row.pixels + q * row.step);
}

void depthwise_forward_row(const ConvArgs& args, const DepthwiseSpace& space, const DepthwiseLines& x,
                           const Volume& y, const Volume& residual, int64_t task, int slot) {
  const ConvProblem& p = *args.problem;
  const Kernels& isa = kernels();
  const int64_t h = task % p.out[1], d = task / p.out[1] % p.out[0], n = task / p.out[1] / p.out[0];
  const DepthwiseScratch s(p, space, slot);
  s.forget();
  for (int64_t t = 0; t < p.filter[0]; ++t)
    for (int64_t r = 0; r < p.filter[1]; ++r) {
      const int64_t i = t * p.filter[1] + r;
      s.line[i] = depthwise_source_line(p, x, n, d, h, t, r, i, s, 0, p.C);
    }
  const DepthwiseOut out(y, n, d, h, p.K, s.out);
  DepthwiseRow row{s.source, s.filter, 0, p.stride[2] * x.step, nullptr, out.step, 0, p.C};
  // Output columns whose taps are all inside go together, the others one by one.
  int64_t from = 0, to = p.out[2], a, b;
  for (int64_t tap = 0; tap < p.filter[2]; ++tap) {
    inside_range(tap * p.dilation[2] - p.pad_low[2], p.stride[2], p.in[2], p.out[2], &a, &b);
    from = std::max(from, a);
    to = std::min(to, b);
  }
  for (int64_t q = 0; q < p.out[2];) {
    const bool whole = q >= from && q < to;
    row.taps = 0;
    for (int64_t i = 0; i < p.filter[0] * p.filter[1]; ++i)
      for (int64_t tap = 0; s.line[i] && tap < p.filter[2]; ++tap) {
        const int64_t iw =
            conv_input_index(q, tap, p.stride[2], p.dilation[2], p.pad_low[2], p.in[2], p.pad_mode);
        if (iw < 0) continue;
        s.source[row.taps] = s.line[i] + iw * x.step;
        s.filter[row.taps++] = space.filters + (i * p.filter[2] + tap) * p.C;
      }
    row.pixels = whole ? to - q : 1;
    row.out = out.pixels + q * out.step;
    isa.depthwise.row(&row);
    q += row.pixels;
  }
  if (!p.epilogue.empty()) depthwise_finish(args, residual, space, n, d, h, out);
  out.store(p.out[2], p.K);
}

/// One row of dx of a zero-padded problem.
void depthwise_backward_input_row(const ConvProblem& p, const DepthwiseSpace& space, const DepthwiseLines& dy,
                                  const Volume& dx, int64_t task, int slot) {
  const Kernels& isa = kernels();
  const int64_t h = task % p.in[1], d = task / p.in[1] % p.in[0], n = task / p.in[1] / p.in[0];
  DepthwiseScratch s(p, space, slot);
  for (int64_t t = 0; t < p.filter[0]; ++t)
    for (int64_t r = 0; r < p.filter[1]; ++r) {
      const int64_t od = d + p.pad_low[0] - t * p.dilation[0], oh = h + p.pad_low[1] - r * p.dilation[1];
      const int64_t i = t * p.filter[1] + r;
      const bool hit = od >= 0 && oh >= 0 && od % p.stride[0] == 0 && oh % p.stride[1] == 0 &&
                       od / p.stride[0] < p.out[0] && oh / p.stride[1] < p.out[1];
      s.line[i] = hit ? dy.line(n, od / p.stride[0], oh / p.stride[1], s.at(i), 0, p.C) : nullptr;
    }
  const DepthwiseOut out(dx, n, d, h, p.C, s.out);
  for (int64_t index = 0; index < conv_phases(p, 2); ++index) {
    const ConvPhase phase = conv_phase(p, 2, index);
    DepthwiseRow row{s.source, s.filter, 0, dy.step, nullptr, p.stride[2] * out.step, 0, p.C};
    int64_t from = 0, to = phase.count, a, b;
    for (int64_t j = 0; j < phase.taps; ++j) {
      inside_range(phase.offset + j * phase.tap_step, 1, p.out[2], phase.count, &a, &b);
      from = std::max(from, a);
      to = std::min(to, b);
    }
    for (int64_t i = 0; i < phase.count;) {
      const bool whole = i >= from && i < to;
      row.taps = 0;
      for (int64_t l = 0; l < p.filter[0] * p.filter[1]; ++l)
        for (int64_t j = 0; s.line[l] && j < phase.taps; ++j) {
          const int64_t q = i + phase.offset + j * phase.tap_step;
          if (q < 0 || q >= p.out[2]) continue;
          s.source[row.taps] = s.line[l] + q * dy.step;
          s.filter[row.taps++] =
              space.filters + (l * p.filter[2] + phase.tap_first - j * phase.tap_down) * p.C;
        }
      row.pixels = whole ? to - i : 1;
      row.out = out.pixels + (phase.first + i * p.stride[2]) * out.step;
      isa.depthwise.row(&row);
      i += row.pixels;
    }
  }
  out.store(p.in[2], p.C);
}

}  // namespace fastcnn::cpu
