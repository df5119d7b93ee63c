// Stand-in for the toolkit's header of the same name: storage and conversions.
#pragma once

#include "emulator/float16.h"

using __nv_bfloat16 = emu::Float16<emu::to_bfloat16, emu::from_bfloat16>;

inline __nv_bfloat16 __float2bfloat16_rn(float f) { return f; }
inline float __bfloat162float(__nv_bfloat16 b) { return b; }
