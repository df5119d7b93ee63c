// Results too large for the caches are written past them: lines need not be read before they are overwritten, and what
// else lies in the caches stays there. A consumer that comes at once would rather find a smaller result in a cache.
#pragma once

#include <cstdint>

namespace fastcnn::cpu {

constexpr int64_t kStreamBytes = int64_t(64) << 20;  ///< from this size of a result on
/// More comes from memory rather than from a cache: kernels that hardware does not see through fetch lines ahead, at some
/// cost where they lie in a cache.
constexpr int64_t kFarBytes = int64_t(8) << 20;

/// What kernels/vec.h has for float32; other dtypes do not stream.
template <class T>
inline void stream_row(T* y, const T* v, int n) {
  for (int i = 0; i < n; ++i) y[i] = v[i];
}
inline void stream_done() {}

}  // namespace fastcnn::cpu
