// CUDA's table of convolution algorithms (common/algo.h). Host only: a CPU build plans for cards by it. Add a row: one
// file conv_<name>.cu, its functions declared here, one line in conv_algos.cpp.
#pragma once

#include "common/algo.h"

namespace fastcnn::cuda {

const std::vector<ConvAlgo>& conv_algos();

// conv_depthwise.cu: one filter per channel, any dtype; parts of backward_weight as workspace.
void conv_depthwise_run(const ConvArgs&, Pass, void* stream);
/// Parts into which backward_weight cuts the rows: a function of the problem alone.
int depthwise_splits(const ConvProblem& p);
constexpr int kDepthwiseTaps = 64;  ///< filters of 32 channels that a block keeps: 16 KiB in float64

// conv_implicit_gemm.cu: float32 and 16-bit types, any geometry; partial sums of backward_weight as workspace.
void conv_implicit_gemm_run(const ConvArgs&, Pass, void* stream);
/// Parts into which backward_weight cuts its depth: a function of the problem alone.
int implicit_gemm_splits(const ConvProblem& p);

// conv_mma.cu, conv_mma_tf32.cu: tensor cores, any geometry; packed filters, or partial sums of backward_weight, as
// workspace. float16 and bfloat16; float32 rounded to tf32; float32 by three products of tf32.
void conv_mma_run(const ConvArgs&, Pass, void* stream);
void conv_mma_tf32_run(const ConvArgs&, Pass, void* stream);
void conv_mma_tf32x3_run(const ConvArgs&, Pass, void* stream);
constexpr int kMmaBig = 128, kMmaSmall = 64;  ///< rows and columns of a block's sums
struct MmaWeight {
  int tile;    ///< kMmaBig or kMmaSmall
  int splits;  ///< parts into which backward_weight cuts its depth
};
constexpr double kTf32Error = 8192;  ///< 2^13: 11 bits of a product in place of float32's 24
/// As near as direct, but not float32 arithmetic: above what "fp32" lets `auto` take.
constexpr double kTf32x3Error = 8;
/// A function of the problem alone.
MmaWeight mma_weight(const ConvProblem& p);

// conv_im2col.cu: float32, any geometry and padding; a part of the patch matrix as workspace.
void conv_im2col_run(const ConvArgs&, Pass, void* stream);
/// The workspace of a pass, at most `limit` bytes if a matrix of 128 rows or one image fits. A function of its arguments
/// alone; the bits of forward and backward_input do not depend on the limit. Rows of the matrix are output pixels.
struct Im2colSpace {
  int64_t rows = 0;    ///< of a chunk
  int splits = 1;      ///< parts of a chunk's rows in backward_weight
  size_t matrix = 0;   ///< floats of a chunk
  size_t weights = 0;  ///< floats of packed filters, or of sums of backward_weight
  size_t bytes() const { return (matrix + weights) * sizeof(float); }
};
Im2colSpace im2col_space(const ConvProblem& p, Pass pass, size_t limit);

// conv_direct.cu: any geometry, dtype, strides and fusion; no workspace.
void conv_direct_run(const ConvArgs&, Pass, void* stream);

}  // namespace fastcnn::cuda
