// null_op on CUDA: the device half of the template op; parameters in common/null_op.h.
#pragma once

#include "common/null_op.h"

namespace fastcnn::cuda {

/// `stream` is a cudaStream_t.
void null_op(const NullOpParams& params, void* stream);

}  // namespace fastcnn::cuda
