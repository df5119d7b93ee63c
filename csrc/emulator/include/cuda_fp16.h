// Stand-in for the toolkit's header of the same name: storage and conversions.
#pragma once

#include "emulator/float16.h"

using __half = emu::Float16<emu::to_half, emu::from_half>;

inline __half __float2half_rn(float f) { return f; }
inline float __half2float(__half h) { return h; }
