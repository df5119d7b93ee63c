// Register-tiled float32 GEMM micro-kernel, one per ISA: C[MR x NR] (+)= A[MR x k] * B[k x NR].
#pragma once

#include <stdint.h>

namespace fastcnn::cpu {

struct GemmTile {
  const float* a;        ///< A: element (i, p) at a[i * a_row + p * a_col]
  int64_t a_row, a_col;  ///< in elements
  const float* b;        ///< packed B panel: element (p, j) at b[p * nr + j], zero-filled to nr
  float* c;              ///< C: element (i, j) at c[i * c_row + j]
  int64_t c_row;
  int64_t k;             ///< depth; 0 is allowed (C is then cleared or left)
  int m, n;              ///< valid rows (<= mr) and columns (<= nr); nothing outside is read or written in C
  int accumulate;        ///< 0: C = A*B, 1: C += A*B
};

struct GemmKernels {
  int mr, nr;  ///< the register tile; nr is a multiple of the vector width
  void (*tile)(const GemmTile*);
};

}  // namespace fastcnn::cpu
