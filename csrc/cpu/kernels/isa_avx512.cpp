// AVX-512 F, BW, DQ, VL, CD: Skylake-X, Zen 4 and later.
#if defined(__x86_64__)
#define FC_ISA avx512
#define FC_ISA_NAME "avx512"
#define FC_VEC_AVX512 1
#include "cpu/kernels/all.inl"
#endif
