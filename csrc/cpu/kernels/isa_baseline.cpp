// x86-64-v2: SSE4.2, no FMA; every 64-bit Intel and AMD CPU since about 2009.
#if defined(__x86_64__)
#define FC_ISA baseline
#define FC_ISA_NAME "baseline"
#define FC_VEC_SSE 1
#include "cpu/kernels/all.inl"
#endif
