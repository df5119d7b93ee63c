// What device code sees of the thread that runs it, and how it names the line it stands on.
#pragma once

#include "emulator/vector_types.h"

namespace emu {

struct Site {
  const char* file;
  int line;
};
// As a default argument: the line of the call.
#define EMULATOR_HERE {__builtin_FILE(), __builtin_LINE()}

}  // namespace emu

// The scheduler sets them whenever another GPU thread gets its turn; each OS thread has its own.
#define EMULATOR_TLS __attribute__((tls_model("initial-exec")))
extern __thread uint3 threadIdx EMULATOR_TLS, blockIdx EMULATOR_TLS;
extern __thread dim3 blockDim EMULATOR_TLS, gridDim EMULATOR_TLS;
