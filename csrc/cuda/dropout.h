// The dropout family on CUDA; parameters in common/dropout.h, draws of common/philox.h: the masks are the CPU's.
#pragma once

#include "common/dropout.h"

namespace fastcnn::cuda {

// `stream` is a cudaStream_t.
void dropout(const DropoutParams& params, void* stream);
void drop_connect(const DropConnectParams& params, void* stream);

}  // namespace fastcnn::cuda
