// A task is a strip of rows of one panel of channels. It goes down the strip band by band: the band's rows of the wide
// tensor, those that the band before has made left out, are a matrix product into scratch that stays in L2; the depthwise
// kernel reads them there.
#include "cpu/expand_depthwise.h"

#include <algorithm>
#include <cstring>

#include "cpu/conv_depthwise.h"
#include "cpu/thread_pool.h"

namespace fastcnn::cpu {
namespace {

constexpr int64_t kPanel = 64;             // channels: of every ISA's widest tile a multiple
constexpr int64_t kBandFloats = 64 << 10;  // of the wide tensor: with the rows of x, half of a small L2
constexpr int64_t kEnoughTasks = 12;
constexpr int64_t kStripRows = 8;    // at least: the rows around a strip are computed for two
constexpr int64_t kBlockRows = 192;  // of a product
constexpr int64_t kMostDepth = 512;
constexpr int64_t kWorthFloats = 384 << 10;  // a smaller tensor stays in the caches by itself

int64_t div_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

/// Rows of the wide tensor that `rows` rows of outputs read.
int64_t reach(const ConvProblem& d, int64_t rows) { return (rows - 1) * d.stride[1] + d.filter[1]; }

/// How the work is cut; a function of the problem.
struct Cut {
  int64_t panels, strip_rows, strips, band_rows, wide_rows;  ///< band_rows of outputs, wide_rows in scratch
  explicit Cut(const ConvProblem& d) {
    panels = div_up(d.C, kPanel);
    const int64_t enough = div_up(kEnoughTasks, std::max<int64_t>(1, d.N * panels));
    strips = std::max<int64_t>(1, std::min(enough, d.out[1] / kStripRows));
    strip_rows = div_up(d.out[1], 2 * strips) * 2;
    strips = div_up(d.out[1], strip_rows);
    const int64_t fit = kBandFloats / (d.in[2] * kPanel) - reach(d, 1);
    band_rows = std::max<int64_t>(2, std::min(strip_rows, fit / d.stride[1] / 2 * 2));
    wide_rows = std::min(d.in[1], reach(d, band_rows));
  }
  int64_t scratch_floats(const ConvProblem& d) const { return wide_rows * d.in[2] * kPanel; }
};

/// Rows first .. last - 1 of the wide tensor, channels from `channel` on, to `out` in pixels of kPanel.
void make_rows(const ConvArgs& args, int64_t n, int64_t first, int64_t last, int64_t channel, int64_t columns,
               float* out) {
  const ConvProblem& p = *args.problem;
  const GemmKernels& gemm = kernels().gemm;
  const int64_t pixels = (last - first) * p.in[2];
  const float* x = args.x.data<float>() + (n * p.in[1] + first) * p.in[2] * p.C;
  const float* filters = static_cast<const float*>(args.filters) + channel * p.C;
  GemmTile t;
  t.a_row = p.C;
  t.a_col = 1;
  t.b_row = gemm.nr;
  t.c_row = kPanel;
  t.k = p.C;
  t.accumulate = 0;
  for (int64_t row = 0; row < pixels; row += kBlockRows) {
    t.a = x + row * p.C;
    t.m = static_cast<int>(std::min(kBlockRows, pixels - row));
    for (int64_t j = 0; j < columns; j += gemm.nr) {
      const int64_t at = channel + j;
      const GemmFinish last_step = {args.filter_scale.data<float>() + at,
                                    args.bias.data<float>() + at,
                                    nullptr,
                                    0,
                                    p.epilogue.low(),
                                    p.epilogue.high()};
      t.finish = &last_step;
      t.b = filters + j * p.C;
      t.c = out + row * kPanel + j;
      t.n = static_cast<int>(std::min<int64_t>(gemm.nr, columns - j));
      gemm.tile(&t);
    }
  }
}

/// The lines of the wide tensor (row `base` of it at `wide`) that rows h .. h + rows - 1 of y read.
int64_t lines_of(const ConvProblem& p, const float* filters, const float* wide, int64_t base, int64_t h,
                 int64_t rows, DepthwiseLine* lines) {
  int64_t count = 0;
  const int64_t top = h * p.stride[1] - p.pad_low[1];
  for (int64_t i = 0; i < reach(p, rows); ++i) {
    if (top + i < 0 || top + i >= p.in[1]) continue;
    DepthwiseLine line{};
    for (int64_t o = 0; o < rows; ++o) {
      const int64_t r = i - o * p.stride[1];
      if (r >= 0 && r < p.filter[1]) line.filter[o] = filters + r * p.filter[2] * p.C;
    }
    if (!line.filter[0] && !line.filter[1]) continue;
    line.pixels = wide + (top + i - base) * p.in[2] * kPanel;
    lines[count++] = line;
  }
  return count;
}

void run_strip(const ConvArgs& expand, const ConvArgs& args, const Cut& cut, int64_t task, float* wide) {
  const ConvProblem& p = *args.problem;
  const int64_t panel = task % cut.panels, strip = task / cut.panels % cut.strips,
                n = task / cut.panels / cut.strips;
  const int64_t channel = panel * kPanel, columns = std::min(kPanel, p.C - channel);
  const int64_t first = strip * cut.strip_rows, last = std::min(p.out[1], first + cut.strip_rows);
  const int64_t line = p.in[2] * kPanel;
  const float* filters = static_cast<const float*>(args.filters) + channel;
  float* y = args.y.data<float>() + (n * p.out[1] + first) * p.out[2] * p.C + channel;

  DepthwiseLine lines[kDepthwiseTaps + kDepthwiseStrides];
  DepthwiseRows d{};
  d.lines = lines;
  d.line_step = kPanel;
  d.extent = p.in[2];
  d.first = -p.pad_low[2];
  d.filter_step = d.out_step = p.C;
  d.pixels = p.out[2];
  d.channels = d.channel_block = columns;
  d.scale = args.filter_scale.data<float>() + channel;
  d.bias = args.bias.data<float>() + channel;
  d.low = p.epilogue.low();
  d.high = p.epilogue.high();

  int64_t base = 0, end = 0;  // rows of the wide tensor in scratch
  for (int64_t band = first; band < last; band += cut.band_rows) {
    const int64_t rows = std::min(cut.band_rows, last - band), top = band * p.stride[1] - p.pad_low[1];
    const int64_t from = std::min(p.in[1], std::max<int64_t>(0, top)),
                  to = std::min(p.in[1], std::max<int64_t>(0, top + reach(p, rows)));
    const int64_t have = std::max(from, std::min(end, to));
    if (have > from) std::memmove(wide, wide + (from - base) * line, (have - from) * line * sizeof(float));
    if (to > have) make_rows(expand, n, have, to, channel, columns, wide + (have - from) * line);
    base = from, end = std::max(have, to);
    for (int64_t h = band; h < band + rows; h += 2) {
      const int64_t two = std::min<int64_t>(2, band + rows - h);
      d.line_count = lines_of(p, filters, wide, base, h, two, lines);
      d.out[0] = y + (h - first) * p.out[2] * p.C;
      d.out[1] = two > 1 ? d.out[0] + p.out[2] * p.C : nullptr;
      kernels().depthwise.rows[p.stride[2] - 1][p.filter[2] - 1](&d);
    }
  }
}

}  // namespace

const char* expand_depthwise_unsupported(const ConvProblem& e, const ConvProblem& d) {
  for (const ConvProblem* p : {&e, &d}) {
    if (p->dtype != DType::float32) return "float32 only";
    if (p->spatial != 2) return "two axes only";
    if (!p->epilogue.scale || !p->epilogue.bias || p->epilogue.residual || !p->prologue.empty())
      return "needs a batch norm and no residual";
  }
  for (int a = 0; a < 3; ++a)
    if (e.filter[a] != 1 || e.stride[a] != 1 || e.pad_low[a] != 0 || e.pad_high[a] != 0)
      return "the first is no 1x1 convolution at stride 1";
  if (e.G != 1 || e.C > kMostDepth) return "the first has groups, or more than 512 channels";
  if (d.channels_per_group() != 1 || d.filters_per_group() != 1 || d.G == 1)
    return "the second is not depthwise";
  if (!depthwise_rows_are_plain(d) || d.pad_mode != PadMode::zeros || d.dilation[1] != 1 ||
      d.filter[1] > kDepthwiseTaps || d.stride[1] > kDepthwiseStrides)
    return "the second has filters or strides beyond the fast kernels'";
  if (d.N * d.in_pixels() * d.C < kWorthFloats) return "the tensor between them is small";
  return nullptr;
}

size_t expand_depthwise_workspace_bytes(const ConvProblem&, const ConvProblem& d, int threads) {
  FloatArena arena(nullptr);
  arena.take(threads * Cut(d).scratch_floats(d));
  return arena.bytes();
}

void expand_depthwise(const ConvArgs& expand, const ConvArgs& depthwise) {
  const ConvProblem& d = *depthwise.problem;
  const Cut cut(d);
  float* scratch = static_cast<float*>(depthwise.workspace);
  if (!expand.filters_filled)
    conv_pack_forward(*expand.problem, volume(expand.w), static_cast<float*>(expand.filters),
                      depthwise.threads);
  if (!depthwise.filters_filled)
    depthwise_pack_filters(d, volume(depthwise.w), static_cast<float*>(depthwise.filters));
  parallel_for(
      d.N * cut.strips * cut.panels,
      [&](int64_t task, int slot) {
        run_strip(expand, depthwise, cut, task, scratch + slot * cut.scratch_floats(d));
      },
      depthwise.threads);
}

}  // namespace fastcnn::cpu
