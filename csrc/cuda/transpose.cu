#include "cuda/dispatch.cuh"
#include "cuda/launch.cuh"
#include "cuda/transpose.h"
#include "cuda/vec.cuh"

namespace fastcnn::cuda {
namespace {

constexpr int kTile = 32, kRowsAtOnce = 8;

/// A block for each tile of 32 x 32: read along its rows, written along its columns. Rows of the tile are an odd
/// number of words (of 8 bytes for such elements) apart, so that a column lies in 32 different banks.
template <class T>
FC_KERNEL transpose_kernel(const T* x, T* y, int64_t rows, int64_t columns, unsigned tiles_down,
                           unsigned tiles_across) {
  constexpr int kPitch = kTile + (sizeof(T) < 4 ? 4 / static_cast<int>(sizeof(T)) : 1);
  FC_SHARED(T, tile, [kTile][kPitch]);
  const unsigned across = blockIdx.x % tiles_across, rest = blockIdx.x / tiles_across;
  const unsigned down = rest % tiles_down;
  const int64_t matrix = static_cast<int64_t>(rest / tiles_down) * rows * columns;
  const int tx = static_cast<int>(threadIdx.x), ty = static_cast<int>(threadIdx.y);

  const int64_t column = static_cast<int64_t>(across) * kTile + tx, row0 = static_cast<int64_t>(down) * kTile;
  FC_UNROLL
  for (int i = ty; i < kTile; i += kRowsAtOnce) {
    if (row0 + i < rows && column < columns) {
      store(&tile[i][tx], load(x + matrix + (row0 + i) * columns + column));
    }
  }
  __syncthreads();
  const int64_t row = row0 + tx, column0 = static_cast<int64_t>(across) * kTile;
  FC_UNROLL
  for (int i = ty; i < kTile; i += kRowsAtOnce) {
    if (row < rows && column0 + i < columns) {
      store(y + matrix + (column0 + i) * rows + row, load(&tile[tx][i]));
    }
  }
}

template <class T>
void run(const TransposeArgs& a, cudaStream_t stream) {
  const int64_t down = ceil_div<int64_t>(a.rows, kTile), across = ceil_div<int64_t>(a.columns, kTile);
  const int64_t blocks = a.batch * down * across;
  FC_CHECK(blocks <= 2147483647, "transpose: too many tiles for one launch, got ", blocks,
           ", expected at most 2147483647");
  launch("transpose", transpose_kernel<T>,
         {dim3(static_cast<unsigned>(blocks)), dim3(kTile, kRowsAtOnce), stream}, static_cast<const T*>(a.x),
         static_cast<T*>(a.y), a.rows, a.columns, static_cast<unsigned>(down), static_cast<unsigned>(across));
}

}  // namespace

void transpose(const TransposeArgs& a, void* stream) {
  const auto s = static_cast<cudaStream_t>(stream);
  switch (a.element_bytes) {
    case 1: return run<uint8_t>(a, s);
    case 2: return run<uint16_t>(a, s);
    case 4: return run<uint32_t>(a, s);
    case 8: return run<uint64_t>(a, s);
    default: fail("transpose: element size, got ", a.element_bytes, " bytes, expected 1, 2, 4 or 8");
  }
}

}  // namespace fastcnn::cuda
