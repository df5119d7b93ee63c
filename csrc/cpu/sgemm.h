// C (+)= A * B in float32, any strides of A and B, on all threads. Linear layers, matmul and 1x1
// convolutions.
//
// Each element of C is one chain over the depth (kernels/gemm.h), so its bits depend on neither the number of
// threads nor the blocking, except that the ISA decides whether a multiply-add is fused.
#pragma once

#include <cstddef>
#include <cstdint>

namespace fastcnn::cpu {

struct Sgemm {
  int64_t m, n, k;
  const float* a;
  int64_t a_row, a_col;  ///< element (i, p) at a[i * a_row + p * a_col]
  const float* b;
  int64_t b_row, b_col;  ///< element (p, j) at b[p * b_row + j * b_col]
  float* c;
  int64_t c_row;                ///< element (i, j) at c[i * c_row + j]
  bool accumulate = false;      ///< C += A*B
  const float* bias = nullptr;  ///< [n], added to every row last (not with accumulate)
};

/// Scratch for a product of this size with any strides on `threads` threads. Pure.
size_t sgemm_workspace_bytes(int64_t m, int64_t n, int64_t k, int threads);
/// `workspace` holds sgemm_workspace_bytes(m, n, k, threads), 64-byte aligned; at most `threads` threads
/// work.
void sgemm(const Sgemm& problem, void* workspace, int threads);

}  // namespace fastcnn::cpu
