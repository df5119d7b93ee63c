// What a Winograd call costs, from a model of the machine; scripts/conv_ranking.py prints it beside measured times.
//
// The products run at the speed that the im2col row assumes for its own, whole vectors of columns and at least a few
// rows at a time. A transform costs about as many bytes as it moves, at cache speed. Filters are written once, and read
// again by every block of tiles.
#include <algorithm>
#include <cmath>

#include "cpu/conv_algos.h"
#include "cpu/conv_winograd.h"

namespace fastcnn::cpu {
namespace {

constexpr double kTransformBytes = 26;  // per ns and thread: V and M
constexpr double kGradientBytes = 17;   // V and W, which are further apart in time
// The same from every second pixel.
constexpr double kStride2Bytes = 18, kStride2GradientBytes = 12;
constexpr double kFilterBytes = 12;  // per ns: U written and read, or dU
constexpr double kStreamBytes = 30;  // per ns: U read by a further block
constexpr double kCallMicroseconds = 6;
constexpr double kFewChannels = 8;

double round_up(double n, double unit) { return std::ceil(n / unit) * unit; }

}  // namespace

double conv_winograd_estimate(const ConvProblem& p, Pass pass, const DeviceProps& props) {
  const double lanes = props.isa == "avx512" ? 16 : props.isa == "avx2" ? 8 : 4;
  const double gflops = lanes * (lanes > 4 ? 6 : 3);  // as im2col's
  const WinogradGrid grid = conv_winograd_grid(p, pass);
  const double tiles = double(grid.tiles());
  const auto all = [&](int (*count)(WinogradForm, int)) {
    return double(grid.images) * double(grid.h.all(count)) * double(grid.w.all(count));
  };
  const double multiplications = all(winograd_multiplications);
  const double rows = double(pass == Pass::backward_input ? p.K : p.C);
  const double columns = double(pass == Pass::backward_input ? p.C : p.K);
  const double wide = round_up(columns, lanes), deep = round_up(rows, lanes);
  const double filters = 4.0 * double(grid.points()) * rows * wide;

  // Rows of the products: tiles, or input channels in backward_weight. Few of them leave the unit waiting for filters.
  const double height = pass == Pass::backward_weight ? rows : std::min(tiles, 48.0);
  const double idle = (height + 3) / std::max(height, 1.0);
  double ns = 2 * multiplications * rows * wide * idle / gflops;
  // Forward must have the same bits in training and in evaluation, where filters are kept.
  const bool kept = conv_winograd_filters(p, pass).bytes > 0, weight = pass == Pass::backward_weight;
  ns = kept ? std::max(ns, filters / kFilterBytes) : ns + filters / kFilterBytes;
  // The gradient of a filter is the sum of as many products as it is part of.
  if (weight) ns += (double(grid.inputs()) / grid.points() - 1) * filters / kFilterBytes;
  const double bytes = grid.h.form == WinogradForm::stride2 ? (weight ? kStride2GradientBytes : kStride2Bytes)
                                                            : (weight ? kGradientBytes : kTransformBytes);
  ns += 4 * (all(winograd_inputs) * deep + all(winograd_products) * wide) / bytes;
  const bool again =
      pass != Pass::backward_weight && !WinogradFilters(int64_t(rows), int64_t(columns), grid).used_once;
  if (again)  // three quarters hide behind the products
    ns += std::max(0.0, tiles / 48 - 1) * filters / kStreamBytes / 4;
  // Products of few channels are all beginnings and ends; at stride 2 too little is saved to pay for them.
  if (grid.h.form != WinogradForm::stride1 && std::min(rows, columns) <= kFewChannels) ns *= 2;
  return kCallMicroseconds + ns / 1e3;
}

}  // namespace fastcnn::cpu
