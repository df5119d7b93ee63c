// Costs are microseconds that an A100 would take at the rates in the comments: only their order matters.
#include "cuda/conv_algos.h"

#include <algorithm>

#if defined(FC_WITH_CUDA)
#define FC_ROW(run) run
#else
#define FC_ROW(run) nullptr
#endif

namespace fastcnn::cuda {

namespace {

const char* direct_unsupported(const ConvProblem&, Pass, const DeviceProps&) { return nullptr; }
size_t no_workspace(const ConvProblem&, Pass, const DeviceProps&) { return 0; }
double direct_cost(const ConvProblem& p, Pass, const DeviceProps&) {
  return 5 + p.flops() / 2e5;  // about 0.2 TFLOP/s
}

// ---- depthwise ----

const char* depthwise_unsupported(const ConvProblem& p, Pass pass, const DeviceProps&) {
  constexpr int64_t kMost = int64_t{1} << 30;
  if (!p.is_depthwise() || p.K != p.C) return "not one filter per channel (groups = channels = filters)";
  if (p.taps() > kDepthwiseTaps) return "more than 64 taps";
  if (pass == Pass::backward_input && p.pad_mode != PadMode::zeros)
    return "a cell of x is read from several places unless the padding is zeros";
  if (p.N * p.out_pixels() > kMost || p.N * p.in_pixels() > kMost || p.C > 32 * 65535)
    return "more than 2^30 pixels or 2^21 channels";
  return nullptr;
}
size_t depthwise_workspace(const ConvProblem& p, Pass pass, const DeviceProps&) {
  if (pass != Pass::backward_weight) return 0;
  return size_t(depthwise_splits(p)) * size_t(p.C * p.taps()) * (p.dtype == DType::float64 ? 8 : 4);
}
double depthwise_cost(const ConvProblem& p, Pass pass, const DeviceProps&) {
  // Both maps once, at half the bandwidth of an A100; backward_weight reads them for each tap, mostly from the cache.
  const double bytes =
      double(size_of(p.dtype)) * double(p.N) * double(p.C) * double(p.in_pixels() + p.out_pixels());
  return 5 + bytes / 0.8e6 * (pass == Pass::backward_weight ? 0.3 * double(p.taps()) : 1.0);
}

// ---- implicit_gemm: tiles of 128 x 64 sums (gemm_tile.cuh) ----

constexpr int64_t kTileM = 128, kTileN = 64, kTileK = 16;
int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

struct Product {  // of one group
  int64_t rows, columns, depth;
  int64_t tiles() const { return ceil_div(rows, kTileM) * ceil_div(columns, kTileN); }
};
Product product_of(const ConvProblem& p, Pass pass) {
  const int64_t C = p.channels_per_group(), K = p.filters_per_group();
  if (pass == Pass::forward) return {p.N * p.out_pixels(), K, C * p.taps()};
  if (pass == Pass::backward_input) return {p.N * p.in_pixels(), C, K * p.taps()};
  return {K, C * p.taps(), p.N * p.out_pixels()};
}

const char* implicit_gemm_unsupported(const ConvProblem& p, Pass pass, const DeviceProps&) {
  if (p.dtype == DType::float64) return "multiplies in float32, the tensors are float64";
  if (pass == Pass::backward_input && p.pad_mode != PadMode::zeros)
    return "a cell of x is read from several places unless the padding is zeros";
  constexpr int64_t kMost = int64_t{1} << 30;
  const Product g = product_of(p, pass);
  if (g.rows > kMost || g.columns > kMost || g.depth > kMost ||
      p.K * p.channels_per_group() * p.taps() > kMost)
    return "more than 2^30 pixels or weights";
  if (p.G > 65535 || ceil_div(g.columns, kTileN) > 65535 || ceil_div(g.rows, kTileM) * kTileN > kMost)
    return "more groups or filters than a launch has blocks";
  return nullptr;
}
size_t implicit_gemm_workspace(const ConvProblem& p, Pass pass, const DeviceProps&) {
  if (pass != Pass::backward_weight) return 0;
  return size_t(implicit_gemm_splits(p)) * size_t(p.K * p.channels_per_group() * p.taps()) * sizeof(float);
}
/// Whole tiles at about `rate` TFLOP/s of an A100's 19.5, less where there are not two blocks for each multiprocessor.
double product_cost(const Product& g, double groups, int64_t splits, double rate, const DeviceProps& props) {
  const double blocks = double(g.tiles()) * groups * double(splits);
  const double flops =
      2.0 * blocks * double(kTileM * kTileN) * double(ceil_div(ceil_div(g.depth, splits), kTileK) * kTileK);
  const double busy = std::min(1.0, blocks / (2.0 * std::max(props.sm_count, 1)));
  return 5 + flops / (rate * 1e6 * std::max(busy, 0.01));
}
double implicit_gemm_cost(const ConvProblem& p, Pass pass, const DeviceProps& props) {
  const int64_t splits = pass == Pass::backward_weight ? implicit_gemm_splits(p) : 1;
  return product_cost(product_of(p, pass), double(p.G), splits, 8, props);
}

// ---- implicit_gemm_mma, implicit_gemm_tf32, implicit_gemm_tf32x3 ----

/// Channels in whole vectors of 16 bytes.
int64_t in_vectors(const ConvProblem& p, int64_t channels) {
  const auto lanes = int64_t(16 / size_of(p.dtype));
  return ceil_div(channels, lanes) * lanes;
}

/// Of any of the three.
const char* tensor_cores_unsupported(const ConvProblem& p, Pass pass, const DeviceProps& props) {
  if (const char* reason = implicit_gemm_unsupported(p, pass, props)) return reason;
  constexpr int64_t kMost = int64_t{1} << 30;
  const int64_t C = in_vectors(p, p.channels_per_group()), K = in_vectors(p, p.filters_per_group());
  if (p.G * C * K * p.taps() > kMost) return "more than 2^30 weights, channels in whole vectors of 16 bytes";
  if (pass == Pass::backward_input) {
    int64_t phases = 1;
    for (int a = 0; a < 3; ++a) phases *= std::min(p.stride[a], p.in[a]);
    if (phases > 64) return "more than 64 phases of the strides, each a launch";
  }
  return nullptr;
}
const char* mma_unsupported(const ConvProblem& p, Pass pass, const DeviceProps& props) {
  if (p.dtype != DType::float16 && p.dtype != DType::bfloat16) return "float16 and bfloat16 only";
  if (props.sm < 75) return "needs a card of sm_75 or later";
  if (p.dtype == DType::bfloat16 && props.sm < 80) return "bfloat16 needs a card of sm_80 or later";
  return tensor_cores_unsupported(p, pass, props);
}
const char* tf32_unsupported(const ConvProblem& p, Pass pass, const DeviceProps& props) {
  if (p.dtype != DType::float32) return "float32 only";
  if (props.sm < 80) return "needs a card of sm_80 or later";
  return tensor_cores_unsupported(p, pass, props);
}
size_t mma_workspace(const ConvProblem& p, Pass pass, const DeviceProps&) {
  const int64_t C = p.channels_per_group(), K = p.filters_per_group();
  if (pass == Pass::forward) return size_t(p.K * p.taps() * in_vectors(p, C)) * size_of(p.dtype);
  if (pass == Pass::backward_input) return size_t(p.C * p.taps() * in_vectors(p, K)) * size_of(p.dtype);
  return size_t(mma_weight(p).splits) * size_t(p.K * p.taps() * in_vectors(p, C)) * sizeof(float);
}
/// At `rate` TFLOP/s, whole vectors counted; of backward_input only the taps of a residue class.
double tensor_core_cost(const ConvProblem& p, Pass pass, double rate, const DeviceProps& props) {
  Product g = product_of(p, pass);
  const int64_t C = p.channels_per_group(), K = p.filters_per_group();
  int64_t splits = 1;
  if (pass == Pass::backward_weight) {
    g.columns = g.columns / std::max<int64_t>(C, 1) * in_vectors(p, C);
    splits = mma_weight(p).splits;
  } else if (pass == Pass::forward) {
    g.depth = in_vectors(p, C) * p.taps();
  } else {
    g.depth = in_vectors(p, K) * p.taps();
    for (int a = 0; a < 3; ++a) g.depth = ceil_div(g.depth, std::min(p.stride[a], p.filter[a]));
  }
  return 5 + product_cost(g, double(p.G), splits, rate, props);
}
// About a third of what an A100's tensor cores do at most: 312 TFLOP/s of 16 bits, 156 of tf32.
double mma_cost(const ConvProblem& p, Pass pass, const DeviceProps& props) {
  return tensor_core_cost(p, pass, 100, props);
}
double tf32_cost(const ConvProblem& p, Pass pass, const DeviceProps& props) {
  return tensor_core_cost(p, pass, 50, props);
}
double tf32x3_cost(const ConvProblem& p, Pass pass, const DeviceProps& props) {
  return tensor_core_cost(p, pass, 50.0 / 3, props);
}

// ---- im2col ----

/// Columns of the patch matrix of all groups.
int64_t patch_columns(const ConvProblem& p) { return p.C * p.taps(); }

const char* im2col_unsupported(const ConvProblem& p, Pass pass, const DeviceProps&) {
  if (p.dtype != DType::float32) return "float32 only";
  constexpr int64_t kMost = int64_t{1} << 30;
  const int64_t least = pass == Pass::backward_input ? p.out_pixels() : 1;  // rows of the smallest chunk
  if (p.N * p.out_pixels() > kMost || p.K * p.channels_per_group() * p.taps() > kMost)
    return "more than 2^30 pixels or weights";
  if (patch_columns(p) > kMost / 4 / least) return "a patch matrix of more than 1 GiB for one image or pixel";
  if (p.in_pixels() > kMost / std::max<int64_t>(p.C, 1)) return "images of more than 2^30 elements";
  if (p.G > 65535 ||
      ceil_div(std::max(p.filters_per_group(), p.channels_per_group() * p.taps()), kTileN) > 65535)
    return "more groups, filters or taps than a launch has blocks";
  return nullptr;
}
size_t im2col_workspace(const ConvProblem& p, Pass pass, const DeviceProps&) {
  return im2col_space(p, pass, kNoLimit).bytes();
}
size_t im2col_workspace_within(const ConvProblem& p, Pass pass, size_t limit) {
  return im2col_space(p, pass, limit).bytes();
}
double im2col_cost(const ConvProblem& p, Pass pass, const DeviceProps& props) {
  // The product of dense matrices, a little faster than one whose operands are gathered; the matrix is written and read.
  Product g = product_of(p, pass);
  if (pass == Pass::backward_input)
    g = {p.N * p.out_pixels(), p.channels_per_group() * p.taps(), p.filters_per_group()};
  const int64_t splits = pass == Pass::backward_weight ? im2col_space(p, pass, kNoLimit).splits : 1;
  const double matrix = 4.0 * double(p.N) * double(p.out_pixels()) * double(patch_columns(p));
  return 10 + product_cost(g, double(p.G), splits, 9, props) + 2 * matrix / 1e6;
}

}  // namespace

MmaWeight mma_weight(const ConvProblem& p) {
  // Blocks for a large card, each with at least 512 of the depth.
  constexpr int64_t kWanted = 256, kLeast = 512, kMost = 64;
  const int64_t rows = p.filters_per_group(), columns = in_vectors(p, p.channels_per_group()) * p.taps();
  const int64_t tile = rows > kMmaSmall && columns > kMmaSmall ? kMmaBig : kMmaSmall;
  const int64_t blocks = ceil_div(rows, tile) * ceil_div(columns, tile) * p.G;
  const int64_t wanted = ceil_div(kWanted, std::max<int64_t>(blocks, 1));
  return {int(tile), int(std::max<int64_t>(std::min({wanted, p.N * p.out_pixels() / kLeast, kMost}), 1))};
}

Im2colSpace im2col_space(const ConvProblem& p, Pass pass, size_t limit) {
  // 64 MiB of the matrix at a time: enough blocks for a large card, and about what its second-level cache holds.
  constexpr int64_t kMatrixFloats = int64_t{16} << 20, kRound = 64;
  const bool to_input = pass == Pass::backward_input;
  const int64_t columns = std::max<int64_t>(patch_columns(p), 1);
  const int64_t step = to_input ? p.out_pixels() : kTileM;  // whole images, whole tiles
  const auto weights = size_t(p.K * p.channels_per_group() * p.taps());
  int64_t most = p.N * p.out_pixels();
  // backward_input: all cells of a chunk's images are one launch.
  if (to_input) most = std::min(most, (int64_t{1} << 30) / std::max<int64_t>(p.in_pixels() * p.C, 1) * step);
  Im2colSpace s;
  const auto make = [&](int64_t floats, int64_t splits) {
    s.rows = std::min(most, std::max<int64_t>(floats / kRound * kRound / columns / step, 1) * step);
    s.matrix = size_t(ceil_div(s.rows * patch_columns(p), kRound) * kRound);
    s.splits = int(std::max<int64_t>(std::min(splits, s.rows / 512), 1));
    s.weights = size_t(s.splits) * weights;
  };
  make(kMatrixFloats, pass == Pass::backward_weight ? implicit_gemm_splits(p) : 1);
  if (s.bytes() > limit) make(int64_t(limit / sizeof(float)) - int64_t(weights), 1);
  return s;
}

int depthwise_splits(const ConvProblem& p) {
  // Blocks for a large card, each with at least 16 rows to a group of threads.
  constexpr int64_t kWanted = 1024, kLeast = 8 * 16, kMost = 64;
  const int64_t blocks = (p.C + 31) / 32 * p.taps(), rows = p.N * p.out[0] * p.out[1];
  return int(std::max<int64_t>(
      std::min({(kWanted + blocks - 1) / std::max<int64_t>(blocks, 1), rows / kLeast, kMost}), 1));
}

int implicit_gemm_splits(const ConvProblem& p) {
  // Blocks for a large card, each with at least 512 of the depth.
  constexpr int64_t kWanted = 256, kLeast = 512, kMost = 64;
  const Product g = product_of(p, Pass::backward_weight);
  const int64_t wanted = ceil_div(kWanted, std::max<int64_t>(g.tiles() * p.G, 1));
  return int(std::max<int64_t>(std::min({wanted, g.depth / kLeast, kMost}), 1));
}

const std::vector<ConvAlgo>& conv_algos() {
  // The last row takes every problem of which a CUDA kernel exists, with 0 bytes of workspace. Never destroyed: threads may outlive statics.
  static const auto* table = new std::vector<ConvAlgo>{
      {"depthwise", depthwise_unsupported, depthwise_workspace, depthwise_cost, FC_ROW(conv_depthwise_run)},
      {"implicit_gemm_mma", mma_unsupported, mma_workspace, mma_cost, FC_ROW(conv_mma_run)},
      {"implicit_gemm_tf32", tf32_unsupported, mma_workspace, tf32_cost, FC_ROW(conv_mma_tf32_run),
       kTf32Error},
      {"implicit_gemm_tf32x3", tf32_unsupported, mma_workspace, tf32x3_cost, FC_ROW(conv_mma_tf32x3_run),
       kTf32x3Error},
      {"implicit_gemm", implicit_gemm_unsupported, implicit_gemm_workspace, implicit_gemm_cost,
       FC_ROW(conv_implicit_gemm_run)},
      {"im2col", im2col_unsupported, im2col_workspace, im2col_cost, FC_ROW(conv_im2col_run), 1, nullptr,
       im2col_workspace_within},
      {"direct", direct_unsupported, no_workspace, direct_cost, FC_ROW(conv_direct_run)},
  };
  return *table;
}

}  // namespace fastcnn::cuda
