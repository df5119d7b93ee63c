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

const char* takes_all(const ConvProblem&, Pass, const DeviceProps&) { return nullptr; }
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
double implicit_gemm_cost(const ConvProblem& p, Pass pass, const DeviceProps& props) {
  // Whole tiles at about 8 TFLOP/s of an A100's 19.5, less where there are not two blocks for each multiprocessor.
  const Product g = product_of(p, pass);
  const int64_t splits = pass == Pass::backward_weight ? implicit_gemm_splits(p) : 1;
  const double blocks = double(g.tiles()) * double(p.G) * double(splits);
  const double flops =
      2.0 * blocks * double(kTileM * kTileN) * double(ceil_div(ceil_div(g.depth, splits), kTileK) * kTileK);
  const double busy = std::min(1.0, blocks / (2.0 * std::max(props.sm_count, 1)));
  return 5 + flops / (8e6 * std::max(busy, 0.01));
}

}  // namespace

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
  // The last row takes everything with 0 bytes of workspace. Never destroyed: threads may outlive statics.
  static const auto* table = new std::vector<ConvAlgo>{
      {"depthwise", depthwise_unsupported, depthwise_workspace, depthwise_cost, FC_ROW(conv_depthwise_run)},
      {"implicit_gemm", implicit_gemm_unsupported, implicit_gemm_workspace, implicit_gemm_cost,
       FC_ROW(conv_implicit_gemm_run)},
      {"direct", takes_all, no_workspace, direct_cost, FC_ROW(conv_direct_run)},
  };
  return *table;
}

}  // namespace fastcnn::cuda
