// Stand-in for the toolkit's header of the same name: with this folder first on the include path, a .cu file is
// C++17 and runs on the CPU. csrc/README.md tells what the emulator checks and what it cannot show.
#pragma once

#include "emulator/device.h"
#include "emulator/runtime_api.h"
