#pragma once

#include "common/norm_fold.h"

namespace fastcnn::cpu {

void norm_fold(const NormFoldParams& params);

}  // namespace fastcnn::cpu
