// Implicit GEMM on tensor cores, for float16 and bfloat16 with float32 sums (mma_tile.cuh has the main loop).
//
//   pass               rows (A)                       columns (B)        depth
//   forward            output pixels: patches of x    filters            (tap, channel)
//   backward_input     input pixels: patches of dy    channels           (tap, filter)
//   backward_weight    filters: dy                    (tap, channel): x  output pixels of all images, in `splits` parts
//
// The channels of a tap are cut into octets, the last one filled up with zeros. Filters are packed accordingly, once a call.
// Maps are copied by 16 bytes where their memory is channels-last and aligned and nothing is applied on load, else element
// by element; so any geometry, stride of memory and prologue will do.
//
// backward_input takes the cells of x by residue class of their coordinates modulo the stride: a class is read through
// every stride-th tap only, and by consecutive outputs. It so is a forward pass over dy with steps of its own.
#include "common/conv_problem.h"
#include "cuda/conv_algos.h"
#include "cuda/conv_product.cuh"
#include "cuda/mma_tile.cuh"

namespace fastcnn::cuda {
namespace {

constexpr char kName[] = "conv_mma";
constexpr int kBig = kMmaBig, kSmall = kMmaSmall;

/// One axis of the source as rows and taps read it: cell row * stride + first + tap * step.
struct Reach {
  int stride, first, step, extent;
  int to_first, to_stride;    // cell of the result that a row makes
  int tap_first, tap_stride;  // tap of the filter that a counted tap is
};

/// forward as it is; backward_input with v.x = dy, v.y = dx, v.channels = filters and v.filters = channels.
template <class T>
struct ConvMma : ConvProduct<T> {  // inner counts octets
  Reach reach[3];
  int octets;       // of a tap
  int filter_taps;  // of the packed filters, all of them
  int filter_extent[3];
  const T* packed;  // [group][v.filters][tap][octet]
  bool dense;       // x (dy in backward_input) is copied by octets
  bool dense_y;     // of backward_weight: so is dy
  bool mapped;      // a padding mode other than zeros: forward only
};

/// Channels c .. c + 7 of a cell, `stride` apart, of which `count` are there.
template <class T>
FC_DEVICE void copy_octet(const ConvView<T>& v, uint4* to, const T* from, int64_t stride, int c, int count,
                          bool dense) {
  if (dense) {
    ptx::copy_async<16>(to, from, count * static_cast<int>(sizeof(T)));
    return;
  }
  Vec<T, kOctet> octet;
  FC_UNROLL
  for (int i = 0; i < kOctet; ++i)
    octet.at[i] = Narrow<T>::of(i < count ? v.input(from + i * stride, c + i) : 0.0f);
  store(reinterpret_cast<Vec<T, kOctet>*>(to), octet);
}

/// The octet of x that is under a tap for a row; zeros in the padding and outside.
template <class T>
FC_DEVICE void copy_patch(const ConvMma<T>& p, uint4* to, const Pixel& at, const Tap& tap, int group) {
  bool inside = tap.inside && at.n >= 0;
  int64_t offset = 0;
  FC_UNROLL
  for (int axis = 0; axis < 3; ++axis) {
    const Reach& r = p.reach[axis];
    int cell = at.i[axis] * r.stride + r.first + tap.t[axis] * r.step;
    if (p.mapped) cell = static_cast<int>(p.v.axis[axis].input(at.i[axis], tap.t[axis]));
    inside = inside && static_cast<unsigned>(cell) < static_cast<unsigned>(r.extent);
    offset += cell * p.v.x.stride[2 + axis];
  }
  const int left = p.v.channels - tap.inner * kOctet, c = group * p.v.channels + tap.inner * kOctet;
  const T* from = p.v.x.data;
  if (inside) from += at.n * p.v.x.stride[0] + c * p.v.x.stride[1] + offset;
  copy_octet(p.v, to, from, p.v.x.stride[1], c, !inside ? 0 : left < kOctet ? left : kOctet, p.dense);
}

/// What a thread copies of A and B: the same octet of a step's four, of several lines.
template <class T, class Tile, int kM, int kN>
struct Source {
  static constexpr int kStep = Tile::kThreads / 4, kA = kM / kStep, kB = kN / kStep;
  const ConvMma<T>& p;
  int group, column0;
  Pixel at[kA];

  FC_METHOD Source(const ConvMma<T>& p_, int row0, int column0_, int group_)
      : p(p_), group(group_), column0(column0_) {
    FC_UNROLL
    for (int i = 0; i < kA; ++i) {
      const int row = row0 + static_cast<int>(threadIdx.x) / 4 + i * kStep;
      at[i] = pixel_of(p, row < p.pixels ? row : 0);
      if (row >= p.pixels) at[i].n = -1;
    }
  }
  FC_METHOD void operator()(int step, uint4* a, uint4* b) const {
    const int line = static_cast<int>(threadIdx.x) / 4, octet = static_cast<int>(threadIdx.x) % 4;
    const Tap tap = tap_of(p, step * 4 + octet, p.depths);
    FC_UNROLL
    for (int i = 0; i < kA; ++i) {
      copy_patch(p, a + Tile::A::place(line + i * kStep, octet), at[i], tap, group);
    }
    int filter_tap = 0;
    FC_UNROLL
    for (int axis = 0; axis < 3; ++axis)
      filter_tap = filter_tap * p.filter_extent[axis] + p.reach[axis].tap_first +
                   tap.t[axis] * p.reach[axis].tap_stride;
    FC_UNROLL
    for (int i = 0; i < kB; ++i) {
      const int column = column0 + line + i * kStep;
      const bool inside = tap.inside && column < p.v.filters;
      const int64_t at_tap =
          (static_cast<int64_t>(group) * p.v.filters + column) * p.filter_taps + filter_tap;
      const T* from = inside ? p.packed + (at_tap * p.octets + tap.inner) * kOctet : p.packed;
      ptx::copy_async<16>(b + Tile::B::place(line + i * kStep, octet), from, inside ? 16 : 0);
    }
  }
};

template <class T, int kM, int kN>
FC_KERNEL conv_mma_kernel(ConvMma<T> p) {
  using Tile = MmaTile<T, kM, kN, true>;
  FC_SHARED(uint4, memory, [kMmaStages * Tile::kStage]);
  const int row0 = static_cast<int>(blockIdx.x) * kM, column0 = static_cast<int>(blockIdx.y) * kN;
  const int group = static_cast<int>(blockIdx.z);
  typename Tile::Sums sums = {};
  Tile::run(memory, (p.depths + 3) / 4, sums, Source<T, Tile, kM, kN>(p, row0, column0, group));

  // By way of shared memory, 16 rows of a warp at a time: then neighbouring threads have neighbouring channels. A pitch of
  // 40 puts the pairs of four rows into different banks.
  constexpr int kPitch = 40;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  float* lines = reinterpret_cast<float*>(memory) + static_cast<int>(threadIdx.x) / 32 * 16 * kPitch;
  const int column = column0 + Tile::warp_column() + lane;
  FC_UNROLL
  for (int i = 0; i < Tile::kDown; ++i) {
    FC_UNROLL
    for (int j = 0; j < Tile::kAcross; ++j) {
      float* to = lines + lane / 4 * kPitch + 8 * j + lane % 4 * 2;
      store(reinterpret_cast<Vec<float, 2>*>(to), Vec<float, 2>{{sums[i][j][0], sums[i][j][1]}});
      store(reinterpret_cast<Vec<float, 2>*>(to + 8 * kPitch), Vec<float, 2>{{sums[i][j][2], sums[i][j][3]}});
    }
    __syncwarp();
    for (int r = 0; r < 16; ++r) {
      const int row = row0 + Tile::warp_row() + 16 * i + r;
      if (row >= p.pixels) break;
      if (column >= p.v.filters) continue;
      const Pixel at = pixel_of(p, row);
      int cell[3];
      FC_UNROLL
      for (int axis = 0; axis < 3; ++axis)
        cell[axis] = p.reach[axis].to_first + at.i[axis] * p.reach[axis].to_stride;
      p.v.finish(at.n, group * p.v.filters + column, cell, load(lines + r * kPitch + lane));
    }
    __syncwarp();
  }
}

/// backward_weight, what a thread copies: one octet of filters and one of (tap, channel) of several pixels.
template <class T, class Tile, int kTile>
struct WeightSource {
  static constexpr int kOctets = kTile / kOctet, kStep = Tile::kThreads / kOctets;
  const ConvMma<T>& p;
  int group, filter, begin, end;
  Tap tap;

  FC_METHOD WeightSource(const ConvMma<T>& p_, int row0, int column0, int group_, int begin_, int end_)
      : p(p_), group(group_), begin(begin_), end(end_) {
    const int octet = static_cast<int>(threadIdx.x) % kOctets;
    filter = row0 + octet * kOctet;
    tap = tap_of(p, column0 / kOctet + octet, p.depths);
  }
  FC_METHOD void operator()(int step, uint4* a, uint4* b) const {
    const int octet = static_cast<int>(threadIdx.x) % kOctets;
    FC_UNROLL
    for (int i = 0; i < kMmaDepth / kStep; ++i) {
      const int line = static_cast<int>(threadIdx.x) / kOctets + i * kStep,
                d = begin + step * kMmaDepth + line;
      Pixel at = pixel_of(p, d < end ? d : 0);
      if (d >= end) at.n = -1;
      copy_patch(p, b + Tile::B::place(line, octet), at, tap, group);
      const int left = at.n < 0 ? 0 : p.v.filters - filter, k = group * p.v.filters + filter;
      const T* from = left > 0 ? p.v.y.at(at.n, k, at.i[0], at.i[1], at.i[2]) : p.v.y.data;
      copy_octet(p.v, a + Tile::A::place(line, octet), from, p.v.y.stride[1], k,
                 left < 0        ? 0
                 : left < kOctet ? left
                                 : kOctet,
                 p.dense_y);
    }
  }
};

/// partials[split][group][filter][tap][octet]
template <class T, int kTile>
FC_KERNEL conv_mma_weight_kernel(ConvMma<T> p, unsigned column_tiles) {
  using Tile = MmaTile<T, kTile, kTile, false>;
  FC_SHARED(uint4, memory, [kMmaStages * Tile::kStage]);
  const int row0 = static_cast<int>(blockIdx.y) * kTile;
  const int column0 = static_cast<int>(blockIdx.x % column_tiles) * kTile;
  const int split = static_cast<int>(blockIdx.x / column_tiles), group = static_cast<int>(blockIdx.z);
  const int begin = split * p.per_split,
            end = begin + p.per_split < p.pixels ? begin + p.per_split : p.pixels;
  typename Tile::Sums sums = {};
  Tile::run(memory, (end - begin + kMmaDepth - 1) / kMmaDepth, sums,
            WeightSource<T, Tile, kTile>(p, row0, column0, group, begin, end));
  const int lane = static_cast<int>(threadIdx.x) % 32, columns = p.depths * kOctet;
  float* out = p.partials + (static_cast<int64_t>(split) * gridDim.z + group) * p.v.filters * columns;
  FC_UNROLL
  for (int i = 0; i < Tile::kDown; ++i) {
    FC_UNROLL
    for (int j = 0; j < Tile::kAcross; ++j) {
      const int row = row0 + Tile::warp_row() + 16 * i + lane / 4;
      const int column = column0 + Tile::warp_column() + 8 * j + lane % 4 * 2;
      if (column >= columns) continue;
      FC_UNROLL
      for (int half = 0; half < 2; ++half) {
        if (row + 8 * half >= p.v.filters) continue;
        store(reinterpret_cast<Vec<float, 2>*>(out + static_cast<int64_t>(row + 8 * half) * columns + column),
              Vec<float, 2>{{sums[i][j][2 * half], sums[i][j][2 * half + 1]}});
      }
    }
  }
}

/// packed[group][line][tap][inner, filled up]: a line is a filter, or a channel if `turned`.
template <class T>
FC_KERNEL mma_pack_kernel(ConvMma<T> p, T* packed, unsigned count, FastDivide inner, FastDivide line,
                          FastDivide tap_r, FastDivide tap_s, FastDivide tap_t, bool turned) {
  const unsigned index = blockIdx.x * kElementThreads + threadIdx.x;
  if (index >= count) return;
  unsigned rest = index;
  const int i = static_cast<int>(inner.split(rest)), s = static_cast<int>(tap_s.split(rest));
  const int r = static_cast<int>(tap_r.split(rest)), t = static_cast<int>(tap_t.split(rest));
  const int l = static_cast<int>(line.split(rest)), group = static_cast<int>(rest);
  T value = Narrow<T>::of(0.0f);
  if (i < p.v.channels)
    value = load(
        p.v.w.at(group * (turned ? p.v.channels : p.v.filters) + (turned ? i : l), turned ? l : i, t, r, s));
  store(packed + index, value);
}

/// True if the map's channels are neighbours and every octet of a group begins at a multiple of 16 bytes.
template <class T>
bool is_dense(const View<T>& v, int channels, int64_t groups) {
  bool dense = is_aligned(v.data, 16) && v.stride[1] == 1 && (groups == 1 || channels % kOctet == 0);
  for (int axis : {0, 2, 3, 4}) dense = dense && v.stride[axis] % kOctet == 0;
  return dense;
}

template <class T>
void launch_product(const ConvMma<T>& p, int64_t groups, cudaStream_t stream) {
  // The bits of a sum do not depend on the tile: large ones where they make a block for each multiprocessor.
  const int64_t big = ceil_div<int64_t>(p.pixels, kBig) * ceil_div<int64_t>(p.v.filters, kBig) * groups;
  const bool large = p.v.filters > kSmall && big >= 128;
  const int tile = large ? kBig : kSmall;
  launch(kName, large ? conv_mma_kernel<T, kBig, kBig> : conv_mma_kernel<T, kSmall, kSmall>,
         {dim3(static_cast<unsigned>(ceil_div(p.pixels, tile)),
               static_cast<unsigned>(ceil_div(p.v.filters, tile)), static_cast<unsigned>(groups)),
          dim3(static_cast<unsigned>(2 * tile)), stream},
         p);
}

/// The residue class `rest` of one axis for backward_input, and how many cells and taps it has.
Reach phase_of(const ConvAxis& a, int rest, int* cells, int* taps) {
  Reach r{1, 0, 0, a.out, rest, a.stride, 0, 1};
  *cells = (a.in - rest + a.stride - 1) / a.stride;
  *taps = 0;
  for (int t = 0; t < a.taps; ++t) {
    const int past = rest + a.pad_low - t * a.dilation;
    if (past % a.stride != 0) continue;
    if (*taps == 0) {
      r.tap_first = t;
      r.first = past / a.stride;
    } else if (*taps == 1) {
      r.tap_stride = t - r.tap_first;
      r.step = -r.tap_stride * a.dilation / a.stride;
    }
    ++*taps;
  }
  return r;
}

template <class T>
void run_weight(ConvMma<T> p, const ConvProblem& q, float* partials, cudaStream_t stream) {
  const MmaWeight plan = mma_weight(q);
  p.dense_y = is_dense(p.v.y, p.v.filters, q.G);
  p.per_split = ceil_div(ceil_div(p.pixels, plan.splits), kMmaDepth) * kMmaDepth;
  p.partials = partials;
  const auto columns = static_cast<unsigned>(ceil_div(p.depths * kOctet, plan.tile));
  launch(kName, plan.tile == kBig ? conv_mma_weight_kernel<T, kBig> : conv_mma_weight_kernel<T, kSmall>,
         {dim3(columns * static_cast<unsigned>(plan.splits),
               static_cast<unsigned>(ceil_div(p.v.filters, plan.tile)), static_cast<unsigned>(q.G)),
          dim3(static_cast<unsigned>(2 * plan.tile)), stream},
         p, columns);
  p.inner = FastDivide(p.octets * kOctet);
  p.depths *= kOctet;
  conv_add_splits(kName, static_cast<const ConvProduct<T>&>(p), q.K, plan.splits, stream);
}

template <class T>
void run(const ConvArgs& args, Pass pass, cudaStream_t stream) {
  const ConvProblem& q = *args.problem;
  const bool turned = pass == Pass::backward_input;
  ConvMma<T> p{};
  static_cast<ConvProduct<T>&>(p) = conv_product<T>(args, pass);
  if (turned) {
    std::swap(p.v.x, p.v.y);
    std::swap(p.v.channels, p.v.filters);
  }
  p.octets = ceil_div(p.v.channels, kOctet);
  p.inner = FastDivide(p.octets);
  p.depths = static_cast<int>(q.taps()) * p.octets;
  p.dense = is_dense(p.v.x, p.v.channels, q.G) && !p.v.scale.data && !p.v.relu_before;
  p.mapped = q.pad_mode != PadMode::zeros;
  p.filter_taps = static_cast<int>(q.taps());
  T* packed = static_cast<T*>(args.workspace);
  p.packed = packed;
  for (int a = 0; a < 3; ++a) {
    const ConvAxis& axis = p.v.axis[a];
    p.filter_extent[a] = axis.taps;
    p.reach[a] = {axis.stride, -axis.pad_low, axis.dilation, axis.in, 0, 1, 0, 1};
  }
  if (pass == Pass::backward_weight) return run_weight(p, q, static_cast<float*>(args.workspace), stream);
  const auto count = static_cast<unsigned>(q.G * p.v.filters * p.depths * kOctet);
  launch(kName, mma_pack_kernel<T>,
         {dim3(ceil_div<unsigned>(count, kElementThreads)), dim3(kElementThreads), stream}, p, packed, count,
         FastDivide(p.octets * kOctet), FastDivide(p.v.filters), FastDivide(q.filter[1]),
         FastDivide(q.filter[2]), FastDivide(q.filter[0]), turned);
  if (!turned) return launch_product(p, q.G, stream);
  int phases[3];
  for (int a = 0; a < 3; ++a) phases[a] = std::min(p.v.axis[a].stride, p.v.axis[a].in);
  for (int i = 0; i < phases[0] * phases[1] * phases[2]; ++i) {
    const int rest[3] = {i / phases[2] / phases[1], i / phases[2] % phases[1], i % phases[2]};
    int cells[3], taps[3];
    for (int a = 0; a < 3; ++a) p.reach[a] = phase_of(p.v.axis[a], rest[a], &cells[a], &taps[a]);
    p.pixels = static_cast<int>(q.N * cells[0] * cells[1] * cells[2]);
    p.depths = taps[0] * taps[1] * taps[2] * p.octets;
    p.depth = FastDivide(cells[0]);
    p.height = FastDivide(cells[1]);
    p.width = FastDivide(cells[2]);
    p.tap_r = FastDivide(taps[1]);
    p.tap_s = FastDivide(taps[2]);
    launch_product(p, q.G, stream);
  }
}

}  // namespace

void conv_mma_run(const ConvArgs& args, Pass pass, void* stream_) {
  const auto stream = static_cast<cudaStream_t>(stream_);
  if (args.problem->dtype == DType::float16) return run<__half>(args, pass, stream);
  run<__nv_bfloat16>(args, pass, stream);
}

}  // namespace fastcnn::cuda
