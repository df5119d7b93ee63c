// What device code sees of the thread that runs it: its place, vector types, and how it names the line it stands on.
#pragma once

struct uint3 {
  unsigned x, y, z;
};
struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
  constexpr dim3(uint3 v) : x(v.x), y(v.y), z(v.z) {}
};
struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct alignas(16) float4 {
  float x, y, z, w;
};

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
