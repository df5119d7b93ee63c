// Convolution by the patch matrix ("im2col"): written to the workspace, a part of the pixels at a time, and multiplied by
// the tiled product of gemm_tile.cuh. float32. Filters are packed as [group, filter][tap][channel] once a call.
//
//   forward           the matrix of a chunk is gathered from x; its product with the filters is finished into y
//   backward_input    dy times the filters gives the gradient of the matrix for a chunk of whole images; each cell of x
//                     then adds up the cells of the matrix that were read from it, in the order of the taps. No product
//                     is wasted on strides, and cells that a padding mode mirrors need nothing of their own
//   backward_weight   the matrix is gathered as in forward; the chunks' sums are added up in order
//
// The matrix: a row for each output pixel, its columns (group, tap, channel). im2col_space() says how much there is of it.
#include "cuda/conv_algos.h"
#include "cuda/conv_product.cuh"

namespace fastcnn::cuda {
namespace {

constexpr char kName[] = "conv_im2col";

struct Im2col : ConvProduct<float> {  // as the forward pass has it
  FastDivide columns, by_depth;       // of the matrix; of one group of it
  FastDivide channels_in_all, in_width, in_height, in_depth;
  int first, rows, width_in_all;  // pixels of this chunk; columns of the matrix
  bool add;                       // to the partials there are
  float *matrix, *filters;
};

FC_KERNEL im2col_filters_kernel(Im2col p, unsigned count) {
  const unsigned index = blockIdx.x * kElementThreads + threadIdx.x;
  if (index >= count) return;
  unsigned k = index;
  const Tap tap = tap_of(p, static_cast<int>(p.by_depth.split(k)), p.depths);
  store(p.filters + index, load(p.v.w.at(k, tap.inner, tap.t[0], tap.t[1], tap.t[2])));
}

FC_KERNEL im2col_gather_kernel(Im2col p, unsigned count) {
  const unsigned index = blockIdx.x * kElementThreads + threadIdx.x;
  if (index >= count) return;
  unsigned row = index, group = p.columns.split(row);
  const Tap tap = tap_of(p, static_cast<int>(p.by_depth.split(group)), p.depths);
  const Pixel at = pixel_of(p, p.first + static_cast<int>(row));
  const int c = static_cast<int>(group) * p.v.channels + tap.inner;
  store(p.matrix + index, p.v.patch(at.n, c, at.i, tap.t));
}

/// An operand that lies in memory: lines and depths at fixed distances.
template <bool kDeep, int kLines>
struct Stored {
  static constexpr bool kAlongDepth = kDeep;
  const float* data;
  int64_t per_line, per_depth;
  int lines, end;
  const float* at[kDeep ? kFetches<kLines> : 1];
  int64_t offset = -1;  // of the depth; -1: past the end

  FC_METHOD Stored(const float* data_, int64_t per_line_, int64_t per_depth_, int lines_, int end_)
      : data(data_), per_line(per_line_), per_depth(per_depth_), lines(lines_), end(end_) {}
  FC_METHOD void set_line(int i, int line) { at[i] = line < lines ? data + line * per_line : nullptr; }
  FC_METHOD void set_depth(int d) { offset = d < end ? d * per_depth : -1; }
  FC_METHOD float get(int i) const { return at[i] && offset >= 0 ? load(at[i] + offset) : 0.0f; }
};

/// dy for backward_input: line = output pixel of the chunk, depth = filter.
struct Gradients {
  static constexpr bool kAlongDepth = true;
  const Im2col& p;
  int group;
  Pixel at[kFetches<kTileM>];
  int filter;

  FC_METHOD void set_line(int i, int line) {
    at[i] = pixel_of(p, p.first + (line < p.rows ? line : 0));
    if (line >= p.rows) at[i].n = -1;
  }
  FC_METHOD void set_depth(int d) { filter = d; }
  FC_METHOD float get(int i) const {
    if (filter >= p.v.filters || at[i].n < 0) return 0.0f;
    return load(p.v.y.at(at[i].n, group * p.v.filters + filter, at[i].i[0], at[i].i[1], at[i].i[2]));
  }
};

FC_DEVICE const float* filters_of(const Im2col& p, int group) {
  return p.filters + static_cast<int64_t>(group) * p.v.filters * p.depths;
}

FC_KERNEL im2col_forward_kernel(Im2col p) {
  const int row0 = static_cast<int>(blockIdx.x) * kTileM, column0 = static_cast<int>(blockIdx.y) * kTileN;
  const int group = static_cast<int>(blockIdx.z);
  Stored<true, kTileM> a(p.matrix + static_cast<int64_t>(group) * p.depths, p.width_in_all, 1, p.rows,
                         p.depths);
  Stored<true, kTileN> b(filters_of(p, group), p.depths, 1, p.v.filters, p.depths);
  float sums[kSumsM][kSumsN] = {};
  tiled_product(a, b, row0, column0, 0, p.depths, sums);
  for_each_sum(row0, column0, sums, [&](int row, int column, float sum) {
    if (row >= p.rows || column >= p.v.filters) return;
    const Pixel at = pixel_of(p, p.first + row);
    p.v.finish(at.n, group * p.v.filters + column, at.i, sum);
  });
}

/// matrix = dy filters, for a chunk.
FC_KERNEL im2col_spread_kernel(Im2col p) {
  const int row0 = static_cast<int>(blockIdx.x) * kTileM, column0 = static_cast<int>(blockIdx.y) * kTileN;
  const int group = static_cast<int>(blockIdx.z);
  Gradients a{p, group, {}, 0};
  Stored<false, kTileN> b(filters_of(p, group), 1, p.depths, p.depths, p.v.filters);
  float sums[kSumsM][kSumsN] = {};
  tiled_product(a, b, row0, column0, 0, p.v.filters, sums);
  float* out = p.matrix + static_cast<int64_t>(group) * p.depths;
  for_each_sum(row0, column0, sums, [&](int row, int column, float sum) {
    if (row < p.rows && column < p.depths)
      store(out + static_cast<int64_t>(row) * p.width_in_all + column, sum);
  });
}

/// Cells of x add up what was read from them; `image` is the first of the chunk.
FC_KERNEL im2col_collect_kernel(Im2col p, unsigned count, int image) {
  unsigned rest = blockIdx.x * kElementThreads + threadIdx.x;
  if (rest >= count) return;
  const int c = static_cast<int>(p.channels_in_all.split(rest)),
            iw = static_cast<int>(p.in_width.split(rest));
  const int ih = static_cast<int>(p.in_height.split(rest)), id = static_cast<int>(p.in_depth.split(rest));
  const int n = static_cast<int>(rest);
  unsigned group = static_cast<unsigned>(c);
  const int inner = static_cast<int>(p.inner.split(group));
  const float* matrix = p.matrix + static_cast<int64_t>(group) * p.depths + inner;
  float sum = 0;
  int64_t od = 0, oh = 0, ow = 0;
  for (int t = 0; t < p.v.axis[0].taps; ++t) {
    for (int64_t i = 0; i < p.v.axis[0].sources(id, t, i, od); ++i) {
      for (int r = 0; r < p.v.axis[1].taps; ++r) {
        for (int64_t j = 0; j < p.v.axis[1].sources(ih, r, j, oh); ++j) {
          for (int s = 0; s < p.v.axis[2].taps; ++s) {
            for (int64_t k = 0; k < p.v.axis[2].sources(iw, s, k, ow); ++k) {
              const int64_t row =
                  ((n * int64_t{p.v.axis[0].out} + od) * p.v.axis[1].out + oh) * p.v.axis[2].out + ow;
              const int tap = (t * p.v.axis[1].taps + r) * p.v.axis[2].taps + s;
              sum += load(matrix + row * p.width_in_all + tap * p.v.channels);
            }
          }
        }
      }
    }
  }
  store(p.v.x.at(image + n, c, id, ih, iw), sum);
}

/// partials[split][group][filter][(tap, channel)], of all chunks until now.
FC_KERNEL im2col_weight_kernel(Im2col p, unsigned column_tiles) {
  const int row0 = static_cast<int>(blockIdx.y) * kTileM;
  const int column0 = static_cast<int>(blockIdx.x % column_tiles) * kTileN;
  const int split = static_cast<int>(blockIdx.x / column_tiles), group = static_cast<int>(blockIdx.z);
  const int begin = p.first + split * p.per_split;
  const int end = p.first + (p.rows < (split + 1) * p.per_split ? p.rows : (split + 1) * p.per_split);
  Slopes<float> a{p, group, end, 0, {}};
  Stored<false, kTileN> b(
      p.matrix + static_cast<int64_t>(group) * p.depths - static_cast<int64_t>(p.first) * p.width_in_all, 1,
      p.width_in_all, p.depths, end);
  float sums[kSumsM][kSumsN] = {};
  tiled_product(a, b, row0, column0, begin, end, sums);
  float* out = p.partials + (static_cast<int64_t>(split) * gridDim.z + group) * p.v.filters * p.depths;
  for_each_sum(row0, column0, sums, [&](int row, int column, float sum) {
    if (row >= p.v.filters || column >= p.depths) return;
    float* to = out + static_cast<int64_t>(row) * p.depths + column;
    store(to, p.add ? load(to) + sum : sum);
  });
}

dim3 tiles(int64_t rows, int64_t columns, int64_t groups) {
  return dim3(static_cast<unsigned>(ceil_div<int64_t>(rows, kTileM)),
              static_cast<unsigned>(ceil_div<int64_t>(columns, kTileN)), static_cast<unsigned>(groups));
}
Grid elements(int64_t count, cudaStream_t stream) {
  return {dim3(static_cast<unsigned>(ceil_div<int64_t>(count, kElementThreads))), dim3(kElementThreads),
          stream};
}

}  // namespace

void conv_im2col_run(const ConvArgs& args, Pass pass, void* stream_) {
  const auto stream = static_cast<cudaStream_t>(stream_);
  const ConvProblem& q = *args.problem;
  const Im2colSpace space = im2col_space(q, pass, args.workspace_bytes);
  Im2col p{};
  static_cast<ConvProduct<float>&>(p) = conv_product<float>(args, Pass::forward);
  p.width_in_all = static_cast<int>(q.G * p.depths);
  p.columns = FastDivide(p.width_in_all);
  p.by_depth = FastDivide(p.depths);
  p.channels_in_all = FastDivide(q.C);
  p.in_depth = FastDivide(q.in[0]);
  p.in_height = FastDivide(q.in[1]);
  p.in_width = FastDivide(q.in[2]);
  p.matrix = static_cast<float*>(args.workspace);
  p.filters = p.partials = p.matrix + space.matrix;
  if (pass != Pass::backward_weight) {
    const int64_t count = q.K * p.depths;
    if (!pack_filters(kName, p.v.w, q, false, p.v.channels, p.filters, stream))
      launch(kName, im2col_filters_kernel, elements(count, stream), p, static_cast<unsigned>(count));
  }
  // Once at least: without a pixel dw is zero.
  do {
    p.rows = static_cast<int>(std::min<int64_t>(space.rows, p.pixels - p.first));
    const int64_t cells = int64_t{p.rows} * p.width_in_all;
    if (pass != Pass::backward_input)
      launch(kName, im2col_gather_kernel, elements(cells, stream), p, static_cast<unsigned>(cells));
    if (pass == Pass::forward) {
      launch(kName, im2col_forward_kernel, {tiles(p.rows, p.v.filters, q.G), dim3(kTileThreads), stream}, p);
    } else if (pass == Pass::backward_input) {
      launch(kName, im2col_spread_kernel, {tiles(p.rows, p.depths, q.G), dim3(kTileThreads), stream}, p);
      const int64_t count = p.rows / q.out_pixels() * q.in_pixels() * q.C;
      launch(kName, im2col_collect_kernel, elements(count, stream), p, static_cast<unsigned>(count),
             static_cast<int>(p.first / q.out_pixels()));
    } else {
      p.per_split =
          static_cast<int>(ceil_div<int64_t>(ceil_div<int64_t>(space.rows, space.splits), kTileK) * kTileK);
      const auto columns = static_cast<unsigned>(ceil_div(p.depths, kTileN));
      launch(kName, im2col_weight_kernel,
             {dim3(columns * static_cast<unsigned>(space.splits),
                   static_cast<unsigned>(ceil_div(p.v.filters, kTileM)), static_cast<unsigned>(q.G)),
              dim3(kTileThreads), stream},
             p, columns);
      p.add = true;
    }
    p.first += p.rows;
  } while (p.first < p.pixels);
  if (pass == Pass::backward_weight)
    conv_add_splits(kName, static_cast<const ConvProduct<float>&>(p), q, space.splits, stream);
}

}  // namespace fastcnn::cuda
