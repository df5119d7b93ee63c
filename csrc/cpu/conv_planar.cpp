// Convolution with few filters at stride 1: lanes are pixels. An image is copied into planes, one per channel, with its
// padding. Tap (r, s) of a channel then reads its plane a fixed distance further, so that for any run of outputs the
// convolution is one product, of the filters [k, (c, r, s)] and the planes, without patches. Outputs are numbered along
// padded rows: those between two rows of y are computed and dropped.
//
// Where lanes are filters instead (im2col), six filters leave ten of sixteen lanes without work.
#include <algorithm>
#include <cmath>

#include "cpu/conv_algos.h"
#include "cpu/conv_im2col.h"
#include "cpu/isa.h"
#include "cpu/thread_pool.h"

namespace fastcnn::cpu {
namespace {

constexpr int64_t kMostSegments = 128;             // rows of filters, one per channel and r
constexpr int64_t kMostFilters = 128;              // far above what it is good for
constexpr int64_t kMostFloats = int64_t(4) << 20;  // of an image's planes
constexpr int64_t kFewImages = 4;                  // which are the tasks
constexpr int64_t kRun = 256;                      // outputs of each filter at a time, in the nearest cache
constexpr int64_t kSlack = 64;                     // the GEMM kernel reads whole vectors

struct Planes {
  int64_t height, width;     ///< with padding
  int64_t plane, positions;  ///< floats of a plane; outputs, with those between rows
  int64_t filter;            ///< weights of one filter
  explicit Planes(const ConvProblem& p)
      : height(p.in[1] + p.pad_low[1] + p.pad_high[1]),
        width(p.in[2] + p.pad_low[2] + p.pad_high[2]),
        plane(height * width),
        positions((p.out[1] - 1) * width + p.out[2]),
        filter(p.C * p.taps()) {}
};

struct Space {
  float *filters, *bias, *scale, *prologue, *scratch;
  size_t planes_floats, line_floats, scratch_floats, bytes;
  /// With `kept`, filters lie there.
  Space(const ConvProblem& p, int threads, void* kept, void* base) {
    FloatArena arena(base);
    const Planes planes(p);
    filters = static_cast<float*>(kept);
    if (!kept) filters = arena.take(p.K * planes.filter);
    bias = arena.take(p.epilogue.bias ? p.K : 0);
    scale = arena.take(p.epilogue.scale ? p.K : 0);
    prologue = arena.take(p.prologue.scale_shift ? 2 * p.C : 0);
    planes_floats = (p.C * planes.plane + kSlack + 15) / 16 * 16;
    line_floats = p.C == 1 ? 0 : (planes.width * p.C + 15) / 16 * 16;
    scratch_floats = planes_floats + line_floats + p.K * kRun;
    scratch = arena.take(std::min<int64_t>(threads, p.N * p.in[0]) * scratch_floats);  // an image is a task
    bytes = arena.bytes();
  }
};

/// Padded lines as rows of the gatherer: each pixel one row, channels its columns.
Gather padded_lines(const ConvProblem& p, const Planes& planes, const Volume& x) {
  Gather g = conv_input_patches(p, x);
  g.axis[1].taps = g.axis[2].taps = 1;
  g.axis[1].outs = planes.height;
  g.axis[2].outs = planes.width;
  return g;
}

/// w as [k][c][r][s].
void copy_filters(const ConvProblem& p, const Volume& w, float* to) {
  for (int64_t k = 0; k < p.K; ++k)
    for (int64_t c = 0; c < p.C; ++c)
      for (int64_t r = 0; r < p.filter[1]; ++r)
        for (int64_t s = 0; s < p.filter[2]; ++s)
          *to++ = w.data[k * w.batch + c * w.channel + r * w.axis[1] + s * w.axis[2]];
}

/// Where image number `image`, of all batch items and depths, begins.
float* image_of(const Volume& v, const ConvProblem& p, int64_t image) {
  return v.data + image / p.in[0] * v.batch + image % p.in[0] * v.axis[0];
}

/// Where each row of the filters, and what it meets, begins.
void find_segments(const ConvProblem& p, const Planes& planes, GemmSegment* segment) {
  for (int64_t c = 0; c < p.C; ++c)
    for (int64_t r = 0; r < p.filter[1]; ++r)
      *segment++ = {(c * p.filter[1] + r) * p.filter[2], c * planes.plane + r * p.dilation[1] * planes.width};
}

struct Run {
  const ConvProblem& p;
  const Planes planes;
  const Space& space;
  const Gather lines;
  const Volume x, y, residual;
  const GemmSegment* segment;
  /// More than a bias and bounds becomes of the sums.
  bool finishes() const { return p.epilogue.scale || p.epilogue.residual; }
  /// Sums begin at the bias, with a residual or without.
  bool begins_at_bias() const { return p.epilogue.bias && !p.epilogue.scale; }

  /// An image to planes.
  void load(int64_t image, float* to, float* line) const {
    const bool rows_are_plain = x.axis[2] == 1, pixels_are_plain = x.channel == 1;
    if (p.pad_mode != PadMode::zeros || !p.prologue.empty() || !(rows_are_plain || pixels_are_plain))
      return gather(image, to, line);
    const float* base = image_of(x, p, image);
    std::fill_n(to, p.C * planes.plane, 0.0f);
    for (int64_t h = 0; h < p.in[1]; ++h) {
      const float* from = base + h * x.axis[1];
      float* row = to + (h + p.pad_low[1]) * planes.width + p.pad_low[2];
      if (rows_are_plain)
        for (int64_t c = 0; c < p.C; ++c) std::copy_n(from + c * x.channel, p.in[2], row + c * planes.plane);
      else
        kernels().transpose.run(row, from, p.in[2], p.C, planes.plane, x.axis[2], sizeof(float), false);
    }
  }
  /// The same, of any memory order, with a prologue and any padding.
  void gather(int64_t image, float* to, float* line) const {
    for (int64_t h = 0; h < planes.height; ++h) {
      float* row = to + h * planes.width;
      const int64_t first = (image * planes.height + h) * planes.width;
      kernels().gather.rows(&lines, first, planes.width, 0, p.C, p.C == 1 ? row : line, p.C);
      if (p.C > 1)
        kernels().transpose.run(row, line, planes.width, p.C, planes.plane, p.C, sizeof(float), false);
    }
  }

  void multiply(const float* from, int64_t first, int64_t count, float* sums) const {
    const GemmFinish finish{nullptr, nullptr, nullptr, 0, p.epilogue.low(), p.epilogue.high()};
    const GemmKernels& gemm = kernels().gemm;
    GemmTile t;
    t.a = space.filters;
    t.a_row = planes.filter;
    t.a_col = 1;
    t.b_row = p.dilation[2];
    t.c_row = kRun;
    t.k = p.filter[2];
    t.m = int(p.K);
    t.accumulate = begins_at_bias();
    t.segment = segment;
    t.segments = int(p.C * p.filter[1]);
    if (!finishes() && (finish.low > -INFINITY || finish.high < INFINITY)) t.finish = &finish;
    for (int64_t i = 0; i < count; i += gemm.nr) {
      t.b = from + first + i;
      t.c = sums + i;
      t.n = int(std::min<int64_t>(gemm.nr, count - i));
      gemm.tile(&t);
    }
  }

  /// min(high, max(low, sum * scale + bias + residual)), each where present; NaN stays.
  void finish(int64_t image, int64_t first, int64_t count, float* sums) const {
    const float low = p.epilogue.low(), high = p.epilogue.high();
    for (int64_t k = 0; k < p.K; ++k) {
      float* sum = sums + k * kRun;
      if (p.epilogue.scale) {
        const float scale = space.scale[k], bias = p.epilogue.bias ? space.bias[k] : 0.0f;
        for (int64_t i = 0; i < count; ++i) sum[i] = sum[i] * scale + bias;
      }
      const float* other = image_of(residual, p, image) + k * residual.channel;
      for (int64_t i = 0; p.epilogue.residual && i < count; ++i) {
        const int64_t row = (first + i) / planes.width, col = (first + i) % planes.width;
        if (col < p.out[2]) sum[i] += other[row * residual.axis[1] + col * residual.axis[2]];
      }
      for (int64_t i = 0; i < count; ++i) sum[i] = sum[i] < low ? low : sum[i] > high ? high : sum[i];
    }
  }

  /// Outputs first .. first + count - 1 of an image to y.
  void store(int64_t image, int64_t first, int64_t count, const float* sums) const {
    float* base = image_of(y, p, image);
    for (int64_t i = 0; i < count;) {
      const int64_t row = (first + i) / planes.width, col = (first + i) % planes.width;
      const int64_t left = std::min(p.out[2] - col, count - i);
      float* to = base + row * y.axis[1] + col * y.axis[2];
      if (left > 0 && y.channel == 1)
        kernels().transpose.run(to, sums + i, p.K, left, y.axis[2], kRun, sizeof(float), false);
      else
        for (int64_t k = 0; k < p.K; ++k)
          for (int64_t j = 0; j < left; ++j) to[k * y.channel + j * y.axis[2]] = sums[k * kRun + i + j];
      i += planes.width - col;
    }
  }

  void image(int64_t index, float* scratch) const {
    float *line = scratch + space.planes_floats, *sums = line + space.line_floats;
    load(index, scratch, line);
    for (int64_t first = 0; first < planes.positions; first += kRun) {
      const int64_t count = std::min(kRun, planes.positions - first);
      if (begins_at_bias())
        for (int64_t k = 0; k < p.K; ++k) std::fill_n(sums + k * kRun, count, space.bias[k]);
      multiply(scratch, first, count, sums);
      if (finishes()) finish(index, first, count, sums);
      store(index, first, count, sums);
    }
  }
};

}  // namespace

const char* conv_planar_unsupported(const ConvProblem& p, Pass pass, const DeviceProps&) {
  if (pass != Pass::forward) return "forward only";
  if (p.dtype != DType::float32) return "float32 only";
  if (p.filter[0] != 1 || p.pad_low[0] || p.pad_high[0] || p.stride[0] != 1)
    return "one or two axes with filters only";
  if (p.stride[1] != 1 || p.stride[2] != 1) return "stride 1 only";
  if (p.G != 1) return "one group only";
  if (p.C == 0) return "at least one input channel";
  if (p.K > kMostFilters) return "at most 128 filters";
  const auto padded = [&](int a) { return double(p.in[a]) + double(p.pad_low[a]) + double(p.pad_high[a]); };
  if (double(p.C) * padded(1) * padded(2) > double(kMostFloats))
    return "at most 16 MiB of an image, with its padding";
  if (p.C * p.filter[1] > kMostSegments) return "at most 128 rows of a filter, over all channels";
  return nullptr;
}

size_t conv_planar_workspace_bytes(const ConvProblem& p, Pass, const DeviceProps& props) {
  return Space(p, props.threads, nullptr, nullptr).bytes;
}

ConvFilters conv_planar_filters(const ConvProblem& p, Pass pass) {
  if (pass != Pass::forward) return {};
  FloatArena arena(nullptr);
  arena.take(p.K * Planes(p).filter);
  return {arena.bytes(), 0};
}

double conv_planar_cost(const ConvProblem& p, Pass, const DeviceProps& props) {
  // As im2col's, in whole vectors and with what is computed between rows; one filter keeps half of the arithmetic busy.
  // Then the filters and the copies. A few large images would leave threads without work.
  const Planes planes(p);
  const double lanes = props.isa == "avx512" ? 16 : props.isa == "avx2" ? 8 : 4;
  const double gflops = lanes * (lanes > 4 ? 6 : 3);
  const double outputs = double(std::max<int64_t>(1, p.out[1] * p.out[2]));
  const double waste = std::ceil(double(planes.positions) / lanes) * lanes / outputs;
  const double busy = std::min(1.0, double(std::max<int64_t>(p.K, 1)) / 2);
  const double images = double(p.N * p.in[0]), read = 4.0 * images * double(planes.plane) * double(p.C),
               written = 4.0 * images * outputs * double(p.K);
  const double packed = 4.0 * double(p.K) * double(planes.filter);
  const double compute = std::max(p.flops() * waste / busy / gflops, packed / 15) + packed / 10;
  const double us = (compute + read / 4 + written / 10) / 1e3;
  return 4.0 + (us > 1000 ? us * std::max(1.0, double(kFewImages) / std::max(images, 1.0)) : us);
}

void conv_planar_run(const ConvArgs& args, Pass, void*) {
  const ConvProblem& p = *args.problem;
  const Space space(p, args.threads, args.filters, args.workspace);
  if (!args.filters_filled) copy_filters(p, volume(args.w), space.filters);
  if (p.epilogue.bias) conv_copy_vector(args.bias, p.K, space.bias);
  if (p.epilogue.scale) conv_copy_vector(args.filter_scale, p.K, space.scale);
  const Planes planes(p);
  Gather lines = padded_lines(p, planes, volume(args.x));
  conv_set_prologue(args, space.prologue, &lines);
  GemmSegment segment[kMostSegments];
  find_segments(p, planes, segment);
  const Run run{p, planes, space, lines, volume(args.x), volume(args.y), volume(args.residual), segment};
  parallel_for(
      p.N * p.in[0],
      [&](int64_t image, int slot) { run.image(image, space.scratch + slot * space.scratch_floats); },
      args.threads);
}

}  // namespace fastcnn::cpu
