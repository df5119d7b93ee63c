// Copies whose source and target have different innermost axes: NHWC to NCHW and back, permutations, transposes.
// The two axes that are contiguous on one side each span matrices, which are transposed block by block.
#include <algorithm>

#include "cpu/elementwise.h"
#include "cpu/isa.h"
#include "cpu/stream.h"
#include "cpu/thread_pool.h"

namespace fastcnn::cpu {

namespace {
constexpr int64_t kTaskBytes = int64_t(128) << 10;
constexpr int64_t kColBytes = 256;  ///< of a task's rows in the source: some lines, read to their end
constexpr int64_t kLineBytes = 64;
}  // namespace

bool layout_copy(const Loop& loop) {
  const int inner = loop.ndim - 1;
  if (loop.dtype[0] != loop.dtype[1] || inner == 0 || loop.strides[0][inner] != 1) return false;
  int axis = -1;  // contiguous in the source
  for (int i = 0; i < inner; ++i)
    if (loop.strides[1][i] == 1 && loop.shape[i] > 1) axis = i;
  if (axis < 0 || loop.strides[1][inner] <= 1) return false;

  const int bytes = int(size_of(loop.dtype[0]));
  const int64_t rows = loop.shape[inner], cols = loop.shape[axis];
  const int64_t y_step = loop.strides[0][axis], x_step = loop.strides[1][inner];
  int64_t matrices = 1;
  for (int i = 0; i < inner; ++i)
    if (i != axis) matrices *= loop.shape[i];
  // A task is a block of a matrix: whole lines on both sides, or several whole matrices if they are small.
  const int64_t width = std::min(cols, std::max(kColBytes / bytes, kTaskBytes / bytes / rows));
  const int64_t line = kLineBytes / bytes;
  const int64_t height = std::min(rows, std::max(kTaskBytes / bytes / width / line * line, line));
  const int64_t across = (cols + width - 1) / width, down = (rows + height - 1) / height;
  const int64_t group = std::max<int64_t>(across * down > 1 ? 1 : kTaskBytes / bytes / (rows * cols), 1);
  const bool stream = loop.numel * bytes >= kStreamBytes;
  parallel_for((matrices + group - 1) / group * across * down, [&](int64_t task, int) {
    const int64_t left = task % across * width, top = task / across % down * height;
    const int64_t first = task / (across * down) * group;
    for (int64_t m = first; m < std::min(matrices, first + group); ++m) {
      int64_t at_y = left * y_step + top, at_x = top * x_step + left;
      for (int64_t rest = m, i = inner - 1; i >= 0; --i) {
        if (i == axis) continue;
        at_y += rest % loop.shape[i] * loop.strides[0][i];
        at_x += rest % loop.shape[i] * loop.strides[1][i];
        rest /= loop.shape[i];
      }
      kernels().transpose.run(static_cast<char*>(loop.data[0]) + at_y * bytes,
                              static_cast<const char*>(loop.data[1]) + at_x * bytes,
                              std::min(height, rows - top), std::min(width, cols - left), y_step, x_step,
                              bytes, stream);
    }
  });
  return true;
}

}  // namespace fastcnn::cpu
