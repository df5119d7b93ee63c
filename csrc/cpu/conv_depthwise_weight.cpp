// Gradient of the filters of a depthwise convolution:
//   dw[tap, c] = sum over rows of sum over q of dy[q, c] * x line [q * stride + s * dilation - pad, c]
// Rows are dealt to a fixed number of partial sums, added in order; tasks are those and blocks of channels.
#include "cpu/conv_depthwise.h"
#include "cpu/thread_pool.h"

namespace fastcnn::cpu {
namespace {

constexpr int64_t kTasks = 16, kChannels = 64;    // wanted; of a block, at least
constexpr int64_t kLongRow = 16, kShortRow = 32;  // pixels

int64_t div_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

/// Whether lines are walked in the order of memory, which hardware fetches ahead. Runs of pixels, the other way, fill few
/// sets of the caches where pixels lie a power of two apart.
bool goes_by_pixel(const ConvProblem& p) {
  if (!depthwise_is_square(p)) return false;
  return p.C % kFewSetsFloats == 0 || (p.stride[2] == 2 && p.out[2] <= kShortRow && depthwise_from_memory(p));
}

struct BackwardWeight {
  const ConvProblem& p;
  const DepthwiseSpace& space;
  const DepthwiseLines &x, &dy;
  const bool by_pixel;

  /// Adds one row of output pixels, channels first .. last - 1, to the sums [tap][channel - first].
  void row(int64_t index, int64_t first, int64_t last, const DepthwiseScratch& s, float* sums) const {
    const int64_t h = index % p.out[1], d = index / p.out[1] % p.out[0], n = index / p.out[1] / p.out[0];
    const float* dy_line = dy.line(n, d, h, s.out, first, last);
    const float** lines = s.line;
    float** line_sums = const_cast<float**>(s.filter);
    int64_t count = 0;
    for (int64_t t = 0; t < p.filter[0]; ++t)
      for (int64_t r = 0; r < p.filter[1]; ++r) {
        const float* line = depthwise_source_line(p, x, n, d, h, t, r, count, s, first, last);
        if (!line) continue;
        lines[count] = line + first;
        line_sums[count++] = sums + (t * p.filter[1] + r) * p.filter[2] * (last - first);
      }
    if (!depthwise_rows_are_plain(p)) return taps(lines, line_sums, count, dy_line + first, last - first);
    DepthwiseSums k{};
    k.lines = lines;
    k.sums = line_sums;
    k.line_count = count;
    k.line_step = x.step;
    k.extent = p.in[2];
    k.first = -p.pad_low[2];
    k.sum_step = last - first;
    k.dy = dy_line + first;
    k.dy_step = dy.step;
    k.pixels = p.out[2];
    k.channels = last - first;
    // Filter rows read lines that the row before read too, but for the last `stride` ones.
    if (s.ahead && dy.in_place && h + 1 < p.out[1]) k.dy_ahead = dy.volume.axis[1];
    if (s.ahead && x.in_place &&
        (h + 1) * p.stride[1] - p.pad_low[1] + (p.filter[1] - 1) * p.dilation[1] < p.in[1])
      k.line_ahead = p.stride[1] * x.volume.axis[1];
    kernels().depthwise.sums[p.stride[2] - 1][p.filter[2] - 1](&k);
  }

  /// How many neighbouring rows, of `left`, are added together.
  int64_t together(int64_t left) const {
    if (!depthwise_is_square(p) || !dy.in_place) return 1;
    if (by_pixel) return std::min(left, kDepthwiseSumRows[p.stride[2] - 1]);
    return p.stride[2] == 2 ? 1 : left >= 4 ? 4 : left >= 2 ? 2 : 1;
  }
  /// The same of `count` rows of one plane.
  void rows(int64_t index, int64_t count, int64_t first, int64_t last, const DepthwiseScratch& s,
            float* sums) const {
    const int64_t h = index % p.out[1], d = index / p.out[1] % p.out[0], n = index / p.out[1] / p.out[0];
    DepthwiseRowSums k{};
    for (int64_t o = 0; o < count; ++o) k.dy[o] = dy.line(n, d, h + o, nullptr, first, last) + first;
    const int64_t id = conv_input_index(d, 0, p.stride[0], p.dilation[0], p.pad_low[0], p.in[0], p.pad_mode);
    const int64_t stride = p.stride[1];
    for (int64_t i = 0; i < (count - 1) * stride + 3; ++i) {
      const int64_t ih = conv_input_index(h, i, stride, 1, p.pad_low[1], p.in[1], p.pad_mode);
      if (id >= 0 && ih >= 0) k.line[i] = x.line(n, id, ih, s, s.place(0, ih, i), first, last) + first;
    }
    k.sums = sums;
    k.sum_step = last - first;
    k.line_step = x.step;
    k.extent = p.in[2];
    k.first = -p.pad_low[2];
    k.dy_step = dy.step;
    k.pixels = p.out[2];
    k.channels = last - first;
    if (s.ahead && h + 2 * count <= p.out[1]) {
      k.dy_ahead = count * dy.volume.axis[1];
      if (x.in_place) k.line_ahead = count * x.volume.axis[1];
    }
    const DepthwiseKernels& isa = kernels().depthwise;
    (by_pixel ? isa.pixel_sums[stride - 1][count - 1] : isa.row_sums[count == 4])(&k);
  }

  /// Any geometry: tap by tap, the pixels whose source lies inside in one go, the others one by one.
  void taps(const float* const* lines, float* const* sums, int64_t count, const float* dy_line,
            int64_t channels) const {
    for (int64_t l = 0; l < count; ++l)
      for (int64_t tap = 0; tap < p.filter[2]; ++tap) {
        int64_t from, to;
        inside_range(tap * p.dilation[2] - p.pad_low[2], p.stride[2], p.in[2], p.out[2], &from, &to);
        const auto add = [&](int64_t q, int64_t pixels) {
          const int64_t iw =
              conv_input_index(q, tap, p.stride[2], p.dilation[2], p.pad_low[2], p.in[2], p.pad_mode);
          if (iw >= 0)
            kernels().depthwise.weight(lines[l] + iw * x.step, p.stride[2] * x.step, dy_line + q * dy.step,
                                       dy.step, pixels, channels, sums[l] + tap * channels);
        };
        for (int64_t q = 0; q < from; ++q) add(q, 1);
        if (to > from) add(from, to - from);
        for (int64_t q = std::max(from, to); q < p.out[2]; ++q) add(q, 1);
      }
  }
};

}  // namespace

void depthwise_backward_weight(const ConvArgs& args, const DepthwiseSpace& space) {
  const ConvProblem& p = *args.problem;
  const DepthwiseLines dy(volume(args.y), p.out, p.C, 0);
  const bool by_pixel = dy.in_place && goes_by_pixel(p);
  DepthwiseLines x(volume(args.x), p.in, p.C, by_pixel ? 0 : depthwise_crowd(p));
  x.add_prologue(args, space.vectors);
  const Volume dw = volume(args.w);
  const BackwardWeight work{p, space, x, dy, by_pixel};
  const int64_t rows = p.N * p.out[0] * p.out[1], splits = DepthwiseSpace::splits(p);
  const int64_t taps = p.taps(), sums = taps * p.C;
  // Blocks of channels do not change a sum.
  // Lines of few channels stay in the nearest cache for the rows that read them again, which pays where rows are long
  // and pixels not a power of two apart.
  const bool narrow = !by_pixel && p.out[2] > kLongRow && p.C % (2 * kChannels) != 0;
  const int64_t most = p.C / kChannels;
  const int64_t blocks = std::max<int64_t>(1, narrow ? most : std::min(div_up(kTasks, splits), most));
  const int64_t block = div_up(div_up(p.C, blocks), 16) * 16;
  // Sums of a split, block by block: [tap][channel of the block], near each other whatever C is.
  const auto place = [&](int64_t split, int64_t first_of_block) {
    return space.partial + split * sums + taps * first_of_block;
  };
  parallel_for(
      splits * blocks,
      [&](int64_t task, int slot) {
        const int64_t split = task / blocks, first = std::min(p.C, task % blocks * block);
        const int64_t last = std::min(p.C, first + block);
        float* partial = place(split, first);
        std::fill_n(partial, taps * (last - first), 0.0f);
        const DepthwiseScratch scratch(p, space, slot);
        scratch.forget();
        const int64_t end = rows * (split + 1) / splits;
        for (int64_t row = rows * split / splits; row < end;) {
          const int64_t left = std::min(end - row, p.out[1] - row % p.out[1]);
          const int64_t count = work.together(left);
          if (count > 1 || by_pixel)
            work.rows(row, count, first, last, scratch, partial);
          else
            work.row(row, first, last, scratch, partial);
          row += count;
        }
      },
      args.threads);
  const int64_t parts = div_up(block, kChannels);
  parallel_for(
      blocks * parts,
      [&](int64_t task, int) {
        const int64_t begin = std::min(p.C, task / parts * block), width = std::min(p.C - begin, block);
        const int64_t first = std::min(width, task % parts * kChannels),
                      last = std::min(width, first + kChannels);
        for (int64_t tap = 0; tap < taps; ++tap) {
          float sum[kChannels];
          kernels().reduce.sum_rows(place(0, begin) + tap * width + first, splits, sums, last - first, sum);
          const int64_t s = tap % p.filter[2], r = tap / p.filter[2] % p.filter[1],
                        t = tap / p.filter[2] / p.filter[1];
          float* target = dw.data + t * dw.axis[0] + r * dw.axis[1] + s * dw.axis[2] + begin * dw.batch;
          for (int64_t c = first; c < last; ++c) target[c * dw.batch] = sum[c - first];
        }
      },
      args.threads);
}

}  // namespace fastcnn::cpu
