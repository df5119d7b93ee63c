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

// conv_direct.cu: any geometry, dtype, strides and fusion; no workspace.
void conv_direct_run(const ConvArgs&, Pass, void* stream);

}  // namespace fastcnn::cuda
