// The im2col row's backward_input where pixels have few channels, as in front of a network's second layer: with lanes
// along channels, six of them would leave ten of sixteen lanes without work. Taps and channels of a filter row are one run
// of dx, so lanes are those:
//
//   z[h, q, (s,c)]          = sum over r, k of dy[(h + pad - r * dilation) / stride, q, k] * w[k, r, s, c]
//   dx[h, q * stride - pad + s, c] += z[h, q, (s,c)]
//
// One product per line of dx, whose depth are the lines of dy that reach it (nothing is multiplied in the padding), then
// runs that overlap are added up from left to right.
#include <algorithm>

#include "cpu/conv_im2col.h"
#include "cpu/isa.h"
#include "cpu/thread_pool.h"

namespace fastcnn::cpu {
namespace {

constexpr int64_t kLeastRuns = 5;             // of a line: fewer fill no tile
constexpr int64_t kMostTaps = 32;             // of a column of the filter
constexpr int64_t kBlockFloats = 8 << 10;     // of z: stays in L1
constexpr int64_t kMostLine = 64 << 10;       // floats of a line of dx with padding
constexpr int64_t kSourceFloats = 128 << 10;  // of lines of dy, where they are copied
constexpr int64_t kWantedTasks = 16;
constexpr int64_t kVector = 16;  // lanes of the widest ISA

int64_t div_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

/// How the lines of dx are dealt out; a function of the problem only.
struct Cut {
  int64_t run, run_step;        ///< floats of a run; of z from one run to the next
  int64_t line_floats;          ///< of dx with padding
  int64_t block_lines, blocks;  ///< lines of dx in a task, tasks of an image
  int64_t source_lines;         ///< of dy that those read, at most
  size_t filter_floats, scratch_floats;
  explicit Cut(const ConvProblem& p) {
    run = p.filter[2] * p.C;
    run_step = div_up(run, kVector) * kVector;
    const int64_t reach = (p.out[2] - 1) * p.stride[2] + p.filter[2];
    line_floats = std::max(reach, p.pad_low[2] + p.in[2]) * p.C;
    const int64_t z_line = p.out[2] * run_step;
    const int64_t most = std::min(kBlockFloats / z_line, kMostLine / std::max<int64_t>(1, line_floats));
    block_lines = std::max<int64_t>(1, std::min(most, p.in[1]));
    block_lines = std::min(block_lines, std::max<int64_t>(1, p.N * p.in[1] / kWantedTasks));
    blocks = div_up(p.in[1], block_lines);
    block_lines = div_up(p.in[1], blocks);
    source_lines = lines_read(p, block_lines);
    filter_floats = packed_filter_floats(1, p.filter[1] * p.K, run);
    scratch_floats = div_up(source_lines * p.out[2] * p.K, kVector) * kVector + block_lines * z_line +
                     div_up(block_lines * line_floats, kVector) * kVector;
  }
  /// Lines of dy that `lines` lines of dx read, at most.
  static int64_t lines_read(const ConvProblem& p, int64_t lines) {
    return std::min(p.out[1], (lines - 1 + (p.filter[1] - 1) * p.dilation[1]) / p.stride[1] + 1);
  }
};

struct Runs {
  const ConvProblem& p;
  const Cut cut;
  const Volume dx;
  const Gather dy;
  const int64_t plain;  ///< stride of the pixels of dy if it is read in place, else -1
  const float* filter;  ///< [panel][r][k][nr]

  /// Lines first .. last - 1 of an image.
  void lines(int64_t image, int64_t first, int64_t last, float* scratch) const {
    float* z = scratch + div_up(cut.source_lines * p.out[2] * p.K, kVector) * kVector;
    float* staged = z + cut.block_lines * p.out[2] * cut.run_step;
    multiply(image, first, last, scratch, z);
    // Straight into dx where its lines have no padding and pixels follow each other.
    const bool in_place = dx.channel == 1 && dx.axis[2] == p.C && cut.line_floats == p.in[2] * p.C;
    float* out = dx.data + image * dx.batch + first * dx.axis[1];
    float* to = in_place ? out : staged;
    const int64_t to_line = in_place ? dx.axis[1] : cut.line_floats;
    for (int64_t h = 0; h < last - first; ++h) std::fill_n(to + h * to_line, cut.line_floats, 0.0f);
    kernels().reduce.add_runs(to, to_line, p.stride[2] * p.C, z, p.out[2] * cut.run_step, cut.run_step,
                              last - first, p.out[2], cut.run);
    if (in_place) return;
    for (int64_t h = 0; h < last - first; ++h, out += dx.axis[1]) {
      const float* from = staged + h * cut.line_floats + p.pad_low[2] * p.C;
      if (dx.channel == 1 && dx.axis[2] == p.C) {
        std::copy_n(from, p.in[2] * p.C, out);
        continue;
      }
      for (int64_t w = 0; w < p.in[2]; ++w)
        for (int64_t c = 0; c < p.C; ++c) out[w * dx.axis[2] + c * dx.channel] = *from++;
    }
  }

  void multiply(int64_t image, int64_t first, int64_t last, float* scratch, float* z) const {
    const GemmKernels& gemm = kernels().gemm;
    // The lowest line of dy that tap r = filter - 1 may want for line `first` of dx.
    const int64_t lowest = first + p.pad_low[1] - (p.filter[1] - 1) * p.dilation[1];
    const int64_t from = lowest <= 0 ? 0 : std::min(p.out[1], div_up(lowest, p.stride[1]));
    const int64_t pixel = (image * p.out[1] + from) * p.out[2];
    const float* source = scratch;
    const int64_t step = plain >= 0 ? plain : p.K;
    if (plain >= 0)
      source = dy.source + pixel * plain;
    else
      kernels().gather.rows(&dy, pixel, std::min(cut.source_lines, p.out[1] - from) * p.out[2], 0, p.K,
                            scratch, p.K);
    const int64_t depth = p.filter[1] * p.K;
    GemmSegment segment[kMostTaps];
    GemmTile t;
    t.a = source;
    t.a_row = step;
    t.a_col = 1;
    t.b_row = gemm.nr;
    t.c_row = cut.run_step;
    t.k = p.K;
    t.m = static_cast<int>(p.out[2]);
    t.accumulate = 0;
    t.segment = segment;
    for (int64_t h = first; h < last; ++h, z += p.out[2] * cut.run_step) {
      t.segments = 0;
      for (int64_t r = 0; r < p.filter[1]; ++r) {
        const int64_t at = h + p.pad_low[1] - r * p.dilation[1];
        if (at < 0 || at % p.stride[1] || at / p.stride[1] >= p.out[1]) continue;
        segment[t.segments++] = {(at / p.stride[1] - from) * p.out[2] * step, r * p.K * gemm.nr};
      }
      for (int64_t j = 0; j < cut.run; j += gemm.nr) {
        t.b = filter + j * depth;
        t.c = z + j;
        t.n = static_cast<int>(std::min<int64_t>(gemm.nr, cut.run - j));
        gemm.tile(&t);
      }
    }
  }
};

/// w as panels of [r][k][nr], the columns (s,c).
void pack(const ConvProblem& p, const Volume& w, float* to) {
  const int64_t nr = kernels().gemm.nr, run = p.filter[2] * p.C, depth = p.filter[1] * p.K;
  for (int64_t r = 0; r < p.filter[1]; ++r)
    for (int64_t k = 0; k < p.K; ++k)
      for (int64_t i = 0; i < run; ++i)
        to[i / nr * nr * depth + (r * p.K + k) * nr + i % nr] =
            w.data[k * w.batch + r * w.axis[1] + i / p.C * w.axis[2] + i % p.C * w.channel];
}

}  // namespace

bool conv_runs_usable(const ConvProblem& p) {
  if (p.G != 1 || p.C == 0 || p.in[0] != 1 || p.out[0] != 1 || p.filter[0] != 1 || p.pad_low[0] != 0)
    return false;
  if (p.dilation[2] != 1 || p.filter[2] == 1 || p.filter[1] > kMostTaps || p.out[2] < kLeastRuns)
    return false;
  if ((double(p.pad_low[2]) + double(p.in[2]) + double(p.pad_high[2])) * double(p.C) > double(kMostLine))
    return false;
  if (double(Cut::lines_read(p, 1)) * double(p.out[2]) * double(p.K) > double(kSourceFloats)) return false;
  return p.C < kVector;
}

double conv_runs_steps(const ConvProblem& p) {
  return double(p.N) * double(p.out_pixels()) * double(p.filter[1] * p.K) *
         double(div_up(p.filter[2] * p.C, kVector));
}

size_t conv_runs_floats(const ConvProblem& p, int threads) {
  const Cut cut(p);
  return cut.filter_floats + threads * cut.scratch_floats;
}

void conv_runs_backward_input(const ConvProblem& p, const Volume& dy, const Volume& dx, const Volume& w,
                              float* space, int threads) {
  if (p.N * p.in_pixels() == 0) return;
  const Cut cut(p);
  const Gather gradient = conv_output_rows(p, dy);
  const int64_t plain = gather_plain_stride(gradient, p.N * p.out_pixels());
  pack(p, w, space);
  const Runs work{p, cut, dx, gradient, plain, space};
  float* scratch = space + cut.filter_floats;
  parallel_for(
      p.N * cut.blocks,
      [&](int64_t task, int slot) {
        const int64_t first = task % cut.blocks * cut.block_lines;
        work.lines(task / cut.blocks, first, std::min(p.in[1], first + cut.block_lines),
                   scratch + slot * cut.scratch_floats);
      },
      threads);
}

}  // namespace fastcnn::cpu
