// AVX2, FMA and F16C: Haswell, Zen and later.
#if defined(__x86_64__)
#define FC_ISA avx2
#define FC_ISA_NAME "avx2"
#define FC_VEC_AVX2 1
#include "cpu/kernels/all.inl"
#endif
