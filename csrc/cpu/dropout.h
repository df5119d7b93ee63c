// Dropout on the CPU.
#pragma once

#include "common/dropout.h"

namespace fastcnn::cpu {

void dropout(const DropoutParams& params);
void drop_connect(const DropConnectParams& params);

}  // namespace fastcnn::cpu
