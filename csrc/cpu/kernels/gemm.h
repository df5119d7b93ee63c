// Register-tiled float32 GEMM kernel, one per ISA: C[m x n] (+)= A[m x k] * B[k x n] for one panel of B.
//
// Every element of C is one chain of multiply-adds over p = 0 .. k-1 that starts from zero or, with
// `accumulate` 1, from C itself. So its bits do not depend on how m, n or k are cut into calls.
#pragma once

#include <stdint.h>

namespace fastcnn::cpu {

/// A stretch of the depth: where its A and B begin, in elements from `a` and `b`.
struct GemmSegment {
  int64_t a, b;
};

/// What becomes of an element of C once its chain has ended: min(high, max(low, C * scale[j] + shift[j] + residual)),
/// as far as there are such vectors. NaN stays.
struct GemmFinish {
  const float *scale, *shift;  ///< of column 0, or null; a scale comes with a shift
  const float* residual;       ///< element (i, j) at residual[i * residual_row + j], or null
  int64_t residual_row;
  float low, high;  ///< -infinity and infinity: no bounds
};

constexpr int kGemmBlock = 3;

struct GemmTile {
  const float* a;        ///< A: element (i, p) at a[i * a_row + p * a_col]
  int64_t a_row, a_col;  ///< in elements; 0 is allowed, so a row may stand for many
  const float* b;  ///< B: element (p, j) at b[p * b_row + j]; readable (any value) up to the next multiple
                   ///< of `lanes` columns after n, so plain matrices need n % lanes == 0, packed panels
                   ///< (b_row = nr) nothing
  int64_t b_row;
  float* c;  ///< C: element (i, j) at c[i * c_row + j]
  int64_t c_row;
  int64_t k;  ///< depth of each segment; 0 is allowed (C is then cleared or left)
  int m, n;   ///< rows (any number) and columns (<= nr); nothing outside m x n of C is read or written
  /// 0: C = A*B; 1: C += A*B as one longer chain; 2: C += (A*B), the chain starts from zero and is added as a whole, so
  /// that the error of a very long sum grows with the pieces' length and number rather than their product.
  int accumulate;
  /// The depth may be several stretches, say the rows of a filter: nothing has to be gathered then. Null: one, at 0.
  const GemmSegment* segment = nullptr;
  int segments = 1;
  /// Memory that will be wanted soon, or null: each step of each register tile fetches one line of it, about
  /// m * k / 8 in all, where n is more than one vector.
  const float* prefetch = nullptr;
  /// Rows of A may come in blocks: row i then begins at a[i / block_rows * block_step + i % block_rows * a_row], and `m`
  /// and `block_rows` are multiples of kGemmBlock. 0: all in one.
  int block_rows = 0;
  int64_t block_step = 0;
  const GemmFinish* finish = nullptr;  ///< null: C stays as it is
};

struct GemmKernels {
  int lanes;   ///< floats in a vector
  int mr, nr;  ///< rows and columns of the widest register tile; nr is a multiple of lanes. m need not be a
               ///< multiple of mr, but is served best by one; narrower panels (n <= nr/2) use taller tiles
  void (*tile)(const GemmTile*);
  /// The same for few columns of a transposed B: element (p, j) at b[j * b_row + p], a_col is 1 and `accumulate` 0 or 2.
  /// Lanes run along the depth of a segment; each output is the sum of `lanes` chains.
  void (*dot)(const GemmTile*);
};

}  // namespace fastcnn::cpu
