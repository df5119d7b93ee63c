// The product at the heart of im2col convolution: out[row, column] = sum over depth of patch(row, depth) *
// filter(depth, column). Filters come packed. Patches are read in place from lines of the source where lines are long
// (patch_lines.h), else gathered block by block into per-thread scratch. forward and each residue class of backward_input are one PatchGemm each.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>

#include "cpu/kernels/gather.h"

namespace fastcnn::cpu {

/// A tensor (n, channel, depth, height, width) with strides in elements.
struct Volume {
  float* data = nullptr;
  int64_t batch = 0, channel = 0, axis[3] = {};
};

struct PatchGemm {
  Gather gather;  ///< of group 0
  int64_t groups;
  int64_t source_group;        ///< elements from a group's source to the next one's
  int64_t rows;                ///< batch times outs
  int64_t depth, columns;      ///< of one group: taps x channels, output channels
  const float* filter;         ///< packed_filter_floats(...): [group][panel][depth][nr]
  const float* narrow_filter;  ///< where patch_gemm_is_narrow: the same, each panel transposed
  Volume out;                  ///< rows are its pixels (n, d, h, w), channels are group * columns + column
  // min(high, max(low, out * scale[channel] + bias[channel] + residual)), each where present.
  const float *scale = nullptr, *bias = nullptr;
  Volume residual;
  float low = -INFINITY, high = INFINITY;
  bool finishes() const { return bias || residual.data || low > -INFINITY || high < INFINITY; }
};

/// The stride of the source's pixels if the patch of a row is a row of the source, in order, so that there is
/// nothing to gather; else -1.
int64_t gather_plain_stride(const Gather& gather, int64_t rows);

/// Columns are packed in panels of `nr`; sizes are computed for the widest nr, so they hold for every ISA.
size_t packed_filter_floats(int64_t groups, int64_t depth, int64_t columns);
/// Whether patches are gathered, each element once per tap; else lines of the source are read as they are, or copied.
bool patch_gemm_gathers(const PatchGemm& p);
/// Few columns: lanes run along the depth, and filters are wanted transposed. A function of the problem only.
bool patch_gemm_is_narrow(const PatchGemm& p);
/// What the product costs, about, in multiply-adds of vectors of 16 lanes. A function of the problem only.
double patch_gemm_steps(const PatchGemm& p);
/// Fills `transposed`, at the place of narrow_filter, from `filter`.
void patch_gemm_transpose_filter(const PatchGemm& p, float* transposed);
/// Scratch of one thread; a function of the problem only.
size_t patch_gemm_scratch_floats(const PatchGemm& p);
/// Number of independent tasks; a function of the problem only.
int64_t patch_gemm_tasks(const PatchGemm& p);
/// Runs one of them; `scratch` holds patch_gemm_scratch_floats.
void patch_gemm_task(const PatchGemm& p, int64_t task, float* scratch);

}  // namespace fastcnn::cpu
