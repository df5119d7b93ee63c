// y[b][c][r] = x[b][r][c]: NCHW <-> NHWC, for elements of 1, 2, 4 or 8 bytes.
#pragma once

#include <cstdint>

namespace fastcnn::cuda {

struct TransposeArgs {
  int element_bytes;
  const void* x;
  void* y;
  int64_t batch, rows, columns;
};
/// `stream` is a cudaStream_t.
void transpose(const TransposeArgs& a, void* stream);

}  // namespace fastcnn::cuda
