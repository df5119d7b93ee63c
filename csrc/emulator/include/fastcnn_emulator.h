// What the emulated build knows beyond the toolkit's headers.
#pragma once

#include "emulator/control.h"
