// The passes of the im2col row (conv_im2col*.cpp). Each takes its workspace apart in the same function that
// computes its size: with null pointers it only counts.
#pragma once

#include "common/algo.h"
#include "cpu/conv_patches.h"

namespace fastcnn::cpu {

size_t conv_im2col_forward_bytes(const ConvProblem& p, int threads);
size_t conv_im2col_backward_input_bytes(const ConvProblem& p, int threads);
size_t conv_im2col_backward_weight_bytes(const ConvProblem& p, int threads);
/// Whether backward_weight reads patches in place rather than gather them.
bool conv_im2col_weight_is_narrow(const ConvProblem& p);
void conv_im2col_forward(const ConvArgs& args);
void conv_im2col_backward_input(const ConvArgs& args);
void conv_im2col_backward_weight(const ConvArgs& args);

/// The prologue of `args`, its vectors copied to contiguous memory at `vectors` (2 * C floats).
void conv_set_prologue(const ConvArgs& args, float* vectors, Gather* gather);

}  // namespace fastcnn::cpu
