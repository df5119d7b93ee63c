// How the rows that a depthwise convolution writes are dealt out: in groups that a kernel computes together, and strips of
// groups, which are the tasks.
#pragma once

#include "cpu/conv_depthwise.h"

namespace fastcnn::cpu {

inline int64_t depthwise_div_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

/// Rows of outputs in strips of groups. A function of the problem and of how many rows the kernel takes.
struct DepthwiseStrips {
  static constexpr int64_t kFloats = 65536;
  // Strips at least. Where lines are copied, fewer strips copy fewer lines twice.
  static constexpr int64_t kStripsAtLeast = 32, kCopied = 16;
  int64_t height, together;  ///< rows of a plane, of a group
  int64_t groups, count;     ///< of a strip; strips of a plane
  DepthwiseStrips(int64_t planes, int64_t rows, int64_t pixels, int64_t channels, int64_t together)
      : height(rows), together(together) {
    const int64_t row_floats = pixels * channels, all = depthwise_div_up(rows, together);
    const int64_t wanted = depthwise_is_crowded(channels) ? kCopied : kStripsAtLeast;
    const int64_t enough = depthwise_div_up(wanted, std::max<int64_t>(planes, 1));
    groups =
        std::max<int64_t>(1, std::min(kFloats / std::max<int64_t>(together * row_floats, 1), all / enough));
    count = depthwise_div_up(all, groups);
  }
  /// Calls f(plane, first row, rows) for the groups of a task.
  template <class F>
  void each(int64_t task, F&& f) const {
    const int64_t plane = task / count, first = task % count * together * groups;
    for (int64_t row = first; row < std::min(height, first + together * groups); row += together)
      f(plane, row, std::min(together, height - row));
  }
};

/// What all groups of rows have in common. Filters that are used at a time fill a third of the nearest cache.
inline DepthwiseRows depthwise_rows_of(const ConvProblem& p, const DepthwiseScratch& s,
                                       const DepthwiseLines& source) {
  constexpr int64_t kFilterFloats = 4096;
  DepthwiseRows d{};
  d.lines = s.rows;
  d.line_step = source.step;
  d.extent = source.gather.axis[2].extent;
  d.channels = p.C;
  d.low = -__builtin_inff();
  d.high = __builtin_inff();
  d.channel_block = std::max<int64_t>(64, kFilterFloats / p.taps() / 64 * 64);
  return d;
}

}  // namespace fastcnn::cpu
