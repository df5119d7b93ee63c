// Advanced SIMD, which every aarch64 CPU has.
#if defined(__aarch64__)
#define FC_ISA neon
#define FC_ISA_NAME "neon"
#define FC_VEC_NEON 1
#include "cpu/kernels/all.inl"
#endif
