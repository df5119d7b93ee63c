// A 1x1 convolution and the depthwise convolution behind it in one pass over the pixels, as in the blocks of MobileNet-v2
// (Sandler et al. 2018): the wide tensor between the two never exists as a whole. Forward, where nothing is recorded.
#pragma once

#include "common/algo.h"

namespace fastcnn::cpu {

/// nullptr if the two can and should run together, else why not. A function of the problems: their epilogues are a batch
/// norm by given statistics (scale and bias) and an activation each; `depthwise` takes what `expand` makes.
const char* expand_depthwise_unsupported(const ConvProblem& expand, const ConvProblem& depthwise);

/// Scratch of all threads.
size_t expand_depthwise_workspace_bytes(const ConvProblem& expand, const ConvProblem& depthwise, int threads);

/// x (N, C, H, W) without gaps, channels innermost, is expand.x; y is depthwise.y, likewise. Both carry `filters` (as the
/// rows im2col and depthwise keep them), `filter_scale` and `bias` without gaps; depthwise has workspace and threads.
/// Every value has the bits that the two rows give one after the other.
void expand_depthwise(const ConvArgs& expand, const ConvArgs& depthwise);

}  // namespace fastcnn::cpu
