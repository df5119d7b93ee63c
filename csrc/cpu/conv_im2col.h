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

/// backward_input of a zero-padded problem with few channels (conv_im2col_runs.cpp): whether this is one, its cost in
/// multiply-adds of vectors, its workspace.
bool conv_runs_usable(const ConvProblem& p);
double conv_runs_steps(const ConvProblem& p);
size_t conv_runs_floats(const ConvProblem& p, int threads);
void conv_runs_backward_input(const ConvProblem& p, const Volume& dy, const Volume& dx, const Volume& w,
                              float* space, int threads);

/// The prologue of `args`, its vectors copied to contiguous memory at `vectors` (2 * C floats).
void conv_set_prologue(const ConvArgs& args, float* vectors, Gather* gather);

}  // namespace fastcnn::cpu
