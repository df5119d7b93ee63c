// Gradient of the input of a depthwise convolution:
//   dx[i, c]   = sum over the taps that reach i of dy line [.., c] * w[tap, c], one residue class
//     of the stride after the other, so that neighbours in a class read neighbours; of 3x3 filters at stride 2
//     with odd padding four classes at once (kernels/depthwise_spread.inl)
#include "cpu/conv_depthwise_strips.h"
#include "cpu/thread_pool.h"

namespace fastcnn::cpu {
namespace {

/// The lines of dy that reach rows h .. h + rows - 1 of dx; `filter` is the first filter row.
int64_t backward_lines(const ConvProblem& p, const DepthwiseSpace& space, const DepthwiseLines& dy, int64_t n,
                       int64_t d, int64_t h, int64_t rows, const DepthwiseScratch& s) {
  const int64_t reach = (p.filter[1] - 1) * p.dilation[1];
  const int64_t low = std::max<int64_t>(0, h + p.pad_low[1] - reach) / p.stride[1];
  const int64_t high = std::min(p.out[1] - 1, (h + rows - 1 + p.pad_low[1]) / p.stride[1]);
  int64_t count = 0;
  for (int64_t t = 0; t < p.filter[0]; ++t) {
    const int64_t od = d + p.pad_low[0] - t * p.dilation[0];
    if (od < 0 || od % p.stride[0] != 0 || od / p.stride[0] >= p.out[0]) continue;
    for (int64_t oh = low; oh <= high; ++oh) {
      DepthwiseLine line{};
      for (int64_t o = 0; o < rows; ++o) {
        const int64_t u = h + o + p.pad_low[1] - oh * p.stride[1];
        if (u >= 0 && u % p.dilation[1] == 0 && u / p.dilation[1] < p.filter[1])
          line.filter[o] = space.filters + (t * p.filter[1] + u / p.dilation[1]) * p.filter[2] * p.C;
      }
      if (!line.filter[0] && !line.filter[1]) continue;
      line.pixels = dy.line(n, od / p.stride[0], oh, s, s.place(t, oh, count), 0, p.C);
      const int64_t step = std::max<int64_t>(1, 2 / p.stride[1]);
      if (s.ahead && dy.in_place && oh > high - step && oh + step < p.out[1])
        line.ahead = step * dy.volume.axis[1];
      s.rows[count++] = line;
    }
  }
  return count;
}

/// Lines of dy for up to four rows of dx of a 3x3 filter at stride 1.
void backward_square_lines(const ConvProblem& p, const DepthwiseLines& dy, int64_t n, int64_t d, int64_t h,
                           int64_t rows, const DepthwiseScratch& s, DepthwiseQuad* q) {
  const int64_t od = d + p.pad_low[0];
  if (od % p.stride[0] != 0 || od / p.stride[0] >= p.out[0]) return;
  for (int64_t i = 0; i < rows + 2; ++i) {
    const int64_t oh = h + p.pad_low[1] - 2 + i;
    if (oh < 0 || oh >= p.out[1]) continue;
    q->line[i] = dy.line(n, od / p.stride[0], oh, s, s.place(0, oh, i), 0, p.C);
    if (s.ahead && dy.in_place && i >= 2 && oh + rows < p.out[1]) q->ahead[i] = rows * dy.volume.axis[1];
  }
}

/// Two rows of dx of a zero-padded problem, the classes of columns one after the other.
void backward_input_pair(const ConvProblem& p, const DepthwiseSpace& space, const DepthwiseLines& dy,
                         const Volume& dx, int64_t plane, int64_t h, int64_t rows, int slot) {
  const int64_t n = plane / p.in[0], d = plane % p.in[0];
  const DepthwiseScratch s(p, space, slot);
  DepthwiseRows k = depthwise_rows_of(p, s, dy);
  k.line_count = backward_lines(p, space, dy, n, d, h, rows, s);
  const DepthwiseOut first(dx, n, d, h, p.C, s.out);
  const DepthwiseOut second(dx, n, d, h + rows - 1, p.C, s.out + p.in[2] * p.C);
  k.out_step = p.stride[2] * first.step;
  if (s.ahead && first.in_place && h + 2 * rows <= p.in[1]) k.out_ahead = rows * dx.axis[1];
  const int64_t lines = k.line_count;
  int64_t tap_before = 0;
  for (int64_t index = 0; index < conv_phases(p, 2); ++index) {
    const ConvPhase phase = conv_phase(p, 2, index);
    for (int64_t l = 0; l < lines; ++l)
      for (const float*& filter : s.rows[l].filter)
        if (filter) filter += (phase.tap_first - tap_before) * p.C;
    tap_before = phase.tap_first;
    k.line_count = phase.taps ? lines : 0;  // no taps: zeros
    k.first = phase.offset;
    k.filter_step = -phase.tap_down * p.C;
    k.pixels = phase.count;
    k.out[0] = first.pixels + phase.first * first.step;
    k.out[1] = rows > 1 ? second.pixels + phase.first * first.step : nullptr;
    kernels().depthwise.rows[0][std::max<int64_t>(phase.taps, 1) - 1](&k);
  }
  first.store(p.in[2], p.C);
  if (rows > 1) second.store(p.in[2], p.C);
}

/// Rows of dx of a 3x3 filter at stride 1.
void backward_input_square(const ConvProblem& p, const DepthwiseSpace& space, const DepthwiseLines& dy,
                           const Volume& dx, int64_t plane, int64_t h, int64_t rows, int slot,
                           DepthwiseQuadFn kernel) {
  const int64_t n = plane / p.in[0], d = plane % p.in[0];
  const DepthwiseScratch s(p, space, slot);
  const ConvPhase phase = conv_phase(p, 2, 0);
  DepthwiseQuad q{};
  q.rows = depthwise_rows_of(p, s, dy);
  q.rows.first = phase.offset;
  q.rows.filter_step = -phase.tap_down * p.C;
  q.rows.pixels = p.in[2];
  backward_square_lines(p, dy, n, d, h, rows, s, &q);
  q.filter = space.filters + (6 + phase.tap_first) * p.C;  // the last row's
  q.filter_row = -3 * p.C;
  const auto out = [&](int64_t o) { return DepthwiseOut(dx, n, d, h + o, p.C, s.out + o * p.in[2] * p.C); };
  for (int64_t o = 0; o < rows; ++o) q.out[o] = out(o).pixels;
  q.rows.out_step = out(0).step;
  if (s.ahead && out(0).in_place && h + 2 * rows <= p.in[1]) q.rows.out_ahead = rows * dx.axis[1];
  kernel(&q);
  for (int64_t o = 0; o < rows; ++o) out(o).store(p.in[2], p.C);
}

/// Two rows of dx of a 3x3 filter at stride 2, in the order of memory.
void backward_input_spread(const ConvProblem& p, const DepthwiseSpace& space, const DepthwiseLines& dy,
                           const Volume& dx, int64_t plane, int64_t h, int64_t rows, int slot) {
  const int64_t n = plane / p.in[0], d = plane % p.in[0], od = d + p.pad_low[0];
  const DepthwiseScratch s(p, space, slot);
  DepthwiseSpread k{};
  k.line_step = dy.step;
  k.extent = p.out[2];
  k.first = p.pad_low[2] / 2;
  k.filter = space.filters;
  k.filter_step = p.C;
  k.pixels = p.in[2];
  k.channels = p.C;
  for (int64_t l = 0; l < 2; ++l) {
    const int64_t oh = h / 2 + p.pad_low[1] / 2 + l;
    if (od % p.stride[0] == 0 && od / p.stride[0] < p.out[0] && oh < p.out[1])
      k.line[l] = dy.line(n, od / p.stride[0], oh, s, s.place(0, oh, l), 0, p.C);
  }
  const DepthwiseOut first(dx, n, d, h, p.C, s.out);
  const DepthwiseOut second(dx, n, d, h + rows - 1, p.C, s.out + p.in[2] * p.C);
  k.out_step = first.step;
  k.out[0] = first.pixels;
  k.out[1] = rows > 1 ? second.pixels : nullptr;
  kernels().depthwise.spread(&k);
  first.store(p.in[2], p.C);
  if (rows > 1) second.store(p.in[2], p.C);
}

/// Whether that is possible: with odd padding two rows and two columns from an even place on share a pixel of dy.
bool is_spread(const ConvProblem& p) {
  return depthwise_is_square(p) && p.stride[2] == 2 && p.pad_low[1] % 2 == 1 && p.pad_low[2] % 2 == 1;
}

}  // namespace

void depthwise_backward_input(const ConvArgs& args, const DepthwiseSpace& space) {
  const ConvProblem& p = *args.problem;
  const bool fold = conv_needs_fold(p);
  const ConvProblem inner = fold ? conv_with_padding_inside(p) : p;
  const bool plain = p.filter[2] <= kDepthwiseTaps && (p.dilation[2] == 1 || p.filter[2] == 1);
  const bool spread = is_spread(inner);
  const DepthwiseLines dy(volume(args.y), p.out, p.C, plain && !spread ? kCrowdedFloats : 0);
  const Volume dx = volume(args.x), target = fold ? channels_last_volume(space.padded, inner.in, p.C) : dx;
  depthwise_pack_filters(p, volume(args.w), space.filters);
  if (plain) {
    const DepthwiseQuadFn square = depthwise_kernel(space.way, p.stride[2]);
    const DepthwiseStrips strips(p.N * inner.in[0], inner.in[1], inner.in[2], p.C,
                                 square ? space.together : 2);
    parallel_for(
        p.N * inner.in[0] * strips.count,
        [&](int64_t task, int slot) {
          DepthwiseScratch(inner, space, slot).forget();
          strips.each(task, [&](int64_t plane, int64_t h, int64_t rows) {
            if (spread)
              backward_input_spread(inner, space, dy, target, plane, h, rows, slot);
            else if (square)
              backward_input_square(inner, space, dy, target, plane, h, rows, slot, square);
            else
              backward_input_pair(inner, space, dy, target, plane, h, rows, slot);
          });
        },
        args.threads);
  } else {
    parallel_for(
        p.N * inner.in[0] * inner.in[1],
        [&](int64_t row, int slot) { depthwise_backward_input_row(inner, space, dy, target, row, slot); },
        args.threads);
  }
  if (fold) conv_fold_padding(p, target, dx, args.threads);
}

}  // namespace fastcnn::cpu
