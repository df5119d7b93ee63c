// Parameters and plan of reductions (sum, max, argmax ... over some axes). Partition and order of the
// combination are fixed here, by the problem alone, so the bits do not depend on the number of threads.
#pragma once

#include "common/tensor.h"

namespace fastcnn {

/// The last two remember where the value was found (first one at ties); they reduce a single axis.
enum class Reduce : uint8_t { sum, prod, max, min, any, all, argmax, argmin, count };
const char* name_of(Reduce op);
inline bool is_arg(Reduce op) { return op == Reduce::argmax || op == Reduce::argmin; }

/// Type of the result's elements: int64 for sums and products of integers, bool for any and all.
DType result_dtype(Reduce op, DType x);

/// Axes of x, outermost first, neighbours merged where the strides allow.
struct ReduceNest {
  int ndim = 0;
  int64_t count = 1;                                                 ///< product of the shape
  int64_t shape[kMaxDims] = {}, x[kMaxDims] = {}, y[kMaxDims] = {};  ///< strides in elements
};

struct ReduceParams {
  Reduce op = Reduce::sum;
  DType dtype = DType::float32;
  const void* x = nullptr;
  void* y = nullptr;           ///< values; nullptr if only indices are wanted
  int64_t* indices = nullptr;  ///< arg ops only, laid out like y
  ReduceNest kept, reduced;
  double divisor = 1;  ///< the sum is divided by it (mean)

  // Plan. `lanes`: the kept axis is innermost in memory, so neighbouring outputs are computed together;
  // otherwise each output walks its own elements. The reduced elements are cut into `chunks` pieces of `chunk`.
  bool lanes = false;
  int64_t chunk = 1, chunks = 1;
  void* partials = nullptr;  ///< [chunks][outputs] states where chunks > 1
};

constexpr int64_t kReduceTask = 32768;  ///< elements of a task, about
constexpr int64_t kReduceLanes = 128;   ///< neighbouring outputs of a task

/// Reduces the axes with reduce[axis] != 0 of x; y_strides has one entry per axis of x (ignored where reduced).
ReduceParams make_reduce(Reduce op, const Tensor& x, const bool* reduce, const Dims& y_strides);
/// Scratch for the partial results of the chunks. Pure.
size_t reduce_workspace_bytes(const ReduceParams& params);

}  // namespace fastcnn
