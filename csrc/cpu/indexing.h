// Reads and writes at positions that are data, on the CPU.
#pragma once

#include "common/indexing.h"

namespace fastcnn::cpu {

/// IndexErrors come before anything is written.
void index(const IndexParams& params);
void gather(const GatherParams& params);
void nonzero(const NonzeroParams& params);

}  // namespace fastcnn::cpu
