// An algorithm is a row of a table, not a branch. Per device and problem kind one table; plan() picks a row.
// plan() is a pure function of its arguments: the runtime, the memory estimator, tests and benchmarks call it
// and get the same answer. A new algorithm is one file and one row.
#pragma once

#include <string>
#include <vector>

#include "common/conv_problem.h"
#include "common/device.h"

namespace fastcnn {

constexpr size_t kNoLimit = SIZE_MAX;

/// Tensors of one convolution call. Which are inputs and which is the output depends on the pass.
struct ConvArgs {
  const ConvProblem* problem;
  Tensor x, w, y;       ///< forward: y out; backward_input: x out; backward_weight: w out (y is dy)
  Tensor scale, shift;  ///< as the problem's prologue says; else without storage
  Tensor filter_scale, bias, residual;  ///< as its epilogue says
  void* workspace = nullptr;
  size_t workspace_bytes = 0;
  /// The filters in the row's own layout, kept from call to call (ConvFilters), or nullptr: then they lie in the
  /// workspace. Filled already, or to be filled by this call.
  void* filters = nullptr;
  bool filters_filled = false;
  int threads = 1;

  explicit ConvArgs(const ConvProblem& p) : problem(&p) {}
};

/// What a row makes of the filters alone before it runs: packed or transformed.
struct ConvFilters {
  size_t bytes = 0;     ///< of its workspace; 0 if there is nothing to keep
  uint64_t layout = 0;  ///< all that its contents depend on, beside the filters and the ISA
};

struct ConvAlgo {
  const char* name;  ///< the word used in algo=, tests, bench and logs
  /// nullptr if the row can run this problem and pass, else the reason it cannot.
  const char* (*unsupported)(const ConvProblem&, Pass, const DeviceProps&);
  /// Everything the row needs beside its tensors: packed weights, transforms, partial sums. Pure, host only.
  size_t (*workspace_bytes)(const ConvProblem&, Pass, const DeviceProps&);
  /// Estimated microseconds of one thread, from facts of the machine; only their order matters. Never of all threads:
  /// another row has other bits, and those must not depend on how many threads there are.
  double (*cost)(const ConvProblem&, Pass, const DeviceProps&);
  /// nullptr in a build without this device.
  void (*run)(const ConvArgs&, Pass, void* stream);
  /// Bound of the rms error, as a multiple of direct's (tested). Above 1, NaN and inf may spread to neighbours.
  double error = 1;
  /// Which part of the workspace may be kept while the filters stay the same; nullptr: none.
  ConvFilters (*filters)(const ConvProblem&, Pass) = nullptr;
  /// Of a row that can make do with less workspace, in more steps: how much it takes of a limit below workspace_bytes;
  /// more than the limit if that is too little. It learns what it got from ConvArgs::workspace_bytes.
  size_t (*workspace_within)(const ConvProblem&, Pass, size_t limit) = nullptr;
};

struct ConvRow {             ///< one row's verdict, for conv_algorithms() and logs
  std::string name, reason;  ///< reason is empty if it can run
  size_t workspace_bytes = 0;
  double cost = 0;
  bool chosen = false;
};

struct ConvPlan {
  const ConvAlgo* algo = nullptr;
  size_t workspace_bytes = 0;
  ConvFilters filters;  ///< a part of the workspace; empty unless the problem reuses filters
};

/// The request: "auto", a name (strict), or a preference (a name that may be passed over).
struct AlgoRequest {
  std::string name = "auto";
  bool strict = true;
  size_t workspace_limit = kNoLimit;
  double error_limit = 6;  ///< "auto" passes over rows above it, unless they are named or preferred
};

/// The cheapest row that can run and fits the limit (a later row wins only if it is cheaper). A strict name that
/// cannot run, or does not fit, is a ValueError with the reason. The last row must accept everything at 0 bytes.
ConvPlan plan(const std::vector<ConvAlgo>& table, const ConvProblem& problem, Pass pass,
              const DeviceProps& props, const AlgoRequest& request, std::vector<ConvRow>* rows = nullptr);

}  // namespace fastcnn
