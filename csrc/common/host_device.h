// For the few functions that kernels of both devices call.
#pragma once

#if defined(__CUDACC__)
#define FC_BOTH __host__ __device__ inline
#else
#define FC_BOTH inline
#endif
