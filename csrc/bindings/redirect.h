// While a dry run lasts, the names of real devices mean its twin on that thread: a step function that makes
// tensors "on the cpu" makes them on the twin.
#pragma once

#include "common/device.h"

namespace fastcnn {

/// What a device named by Python means now.
Device redirected(Device named);

}  // namespace fastcnn
