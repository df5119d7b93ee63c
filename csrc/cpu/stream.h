// Results too large for the caches are written past them: lines need not be read before they are overwritten, and what
// else lies in the caches stays there. A consumer that comes at once would rather find a smaller result in a cache.
#pragma once

#include <cstdint>

namespace fastcnn::cpu {

constexpr int64_t kStreamBytes = int64_t(64) << 20;  ///< from this size of a result on

/// What kernels/vec.h has for float32; other dtypes do not stream.
template <class T>
inline void stream_row(T* y, const T* v, int n) {
  for (int i = 0; i < n; ++i) y[i] = v[i];
}
inline void stream_done() {}

}  // namespace fastcnn::cpu
