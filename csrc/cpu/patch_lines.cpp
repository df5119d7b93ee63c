#include "cpu/patch_lines.h"

#include <algorithm>
#include <cstring>

#include "cpu/isa.h"

namespace fastcnn::cpu {
namespace {

constexpr int64_t kWindowFloats = 48 << 10;  // 192 KiB: stays in L2 beside the filters
constexpr int64_t kLeastWidth = 5;           // of output lines: shorter ones fill no tile

int64_t div_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

/// Lines of a whole tensor with zeros around it: one copy each.
void copy_lines(const Gather& g, const PatchLines& lines, int64_t image, int64_t from, int64_t count,
                float* dst) {
  const GatherAxis &h = g.axis[1], &w = g.axis[2];
  const int64_t left = std::max<int64_t>(0, -w.offset), begin = std::max<int64_t>(0, w.offset);
  const int64_t inside = std::max<int64_t>(0, std::min(lines.window_width - left, w.extent - begin));
  for (int64_t i = 0; i < count; ++i, dst += lines.line_floats) {
    const int64_t at = from + i;
    if (at < 0 || at >= h.extent || inside == 0) {
      std::fill_n(dst, lines.line_floats, 0.0f);
      continue;
    }
    const int64_t before = std::min(left, lines.window_width) * g.channels, n = inside * g.channels;
    std::fill_n(dst, before, 0.0f);
    std::memcpy(dst + before, g.source + image * g.batch_stride + at * h.stride + begin * w.stride,
                n * sizeof(float));
    std::fill_n(dst + before + n, lines.line_floats - before - n, 0.0f);
  }
}

}  // namespace

PatchLines::PatchLines(const Gather& g, int64_t rows, int64_t wanted_blocks) {
  const GatherAxis &d = g.axis[0], &h = g.axis[1], &w = g.axis[2];
  height = h.outs, width = w.outs;
  if (d.outs != 1 || d.taps != 1 || d.extent != 1 || d.offset != 0 || rows == 0 || width < kLeastWidth)
    return;
  if (h.taps * w.taps == 0 || h.taps * w.taps > kMaxSegments) return;
  images = rows / (height * width);
  window_width = (width - 1) * w.step + (w.taps - 1) * w.tap_step + 1;
  line_floats = window_width * g.channels;
  const int64_t reach = (h.taps - 1) * h.tap_step + 1,
                most = kWindowFloats / std::max<int64_t>(line_floats, 1);
  if (most < reach) return;
  block_lines = std::min(height, (most - reach) / h.step + 1);
  block_lines =
      std::min(block_lines, std::max<int64_t>(1, images * height / std::max<int64_t>(wanted_blocks, 1)));
  blocks = div_up(height, block_lines);
  block_lines = div_up(height, blocks);
  blocks = div_up(height, block_lines);
  window_floats = ((block_lines - 1) * h.step + reach) * line_floats;
  usable = true;
}

PatchWindow patch_window(const Gather& g, const PatchLines& lines, int64_t image, int64_t first,
                         int64_t count, bool runs, float* scratch) {
  const GatherAxis &h = g.axis[1], &w = g.axis[2];
  const int64_t from = first * h.step + h.offset,
                needed = (count - 1) * h.step + (h.taps - 1) * h.tap_step + 1;
  const bool plain = g.channel_stride == 1 && !g.scale && !g.relu;
  const bool inside_w = w.offset >= 0 && w.offset + lines.window_width <= w.extent;
  const bool inside_h = from >= 0 && from + needed <= h.extent;
  const bool joined = w.taps == 1 || (w.tap_step == 1 && w.stride == g.channels);
  const bool lines_fit = runs ? inside_h && joined : inside_h || g.padding == kPadZeros;
  if (plain && inside_w && lines_fit)
    return {g.source + image * g.batch_stride + from * h.stride + w.offset * w.stride, h.stride, w.stride,
            joined};
  if (plain && w.stride == g.channels && g.padding == kPadZeros) {
    copy_lines(g, lines, image, from, needed, scratch);
  } else {
    Gather pixels = g;
    pixels.source += image * g.batch_stride;
    pixels.axis[1] = {h.extent, h.stride, needed, 1, 1, from, 1};
    pixels.axis[2] = {w.extent, w.stride, lines.window_width, 1, 1, w.offset, 1};
    kernels().gather.rows(&pixels, 0, needed * lines.window_width, 0, g.channels, scratch, g.channels);
  }
  return {scratch, lines.line_floats, g.channels, w.taps == 1 || w.tap_step == 1};
}

}  // namespace fastcnn::cpu
