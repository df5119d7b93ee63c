#include "cpu/elementwise.h"

#include <algorithm>
#include <limits>

#include "cpu/isa.h"
#include "cpu/stream.h"
#include "cpu/thread_pool.h"

namespace fastcnn::cpu {

namespace {

// clang-format off: the second needs the first
#include "cpu/kernels/pointwise.inl"
#include "cpu/kernels/activation_mask.inl"
// clang-format on

UnaryFn find(Unary op, DType dtype) {
  switch (dtype) {
    case DType::float32: return kernels().pointwise.unary(op);
    case DType::float64: return unary_real<double, double>(op);
    case DType::float16: return unary_real<Half, float>(op);
    case DType::bfloat16: return unary_real<BFloat16, float>(op);
    case DType::uint8: return unary_number<uint8_t, int32_t, double>(op);
    case DType::int32: return unary_number<int32_t, int32_t, double>(op);
    case DType::int64: return unary_number<int64_t, int64_t, double>(op);
    default: return unary_number<bool, int32_t, double>(op);
  }
}

BinaryFn find(Binary op, DType dtype) {
  switch (dtype) {
    case DType::float32: return kernels().pointwise.binary(op);
    case DType::float64: return binary_real<double, double>(op);
    case DType::float16: return binary_real<Half, float>(op);
    case DType::bfloat16: return binary_real<BFloat16, float>(op);
    case DType::uint8: return binary_number<uint8_t, int32_t, double>(op);
    case DType::int32: return binary_number<int32_t, int32_t, double>(op);
    case DType::int64: return binary_number<int64_t, int64_t, double>(op);
    default: return binary_number<bool, int32_t, double>(op);
  }
}

template <class To, class From>
To convert(From x) {
  if constexpr (sizeof(From) == 2) {
    return convert<To, float>(float(x));
  } else if constexpr (sizeof(To) == 2) {
    return To(float(x));
  } else if constexpr (std::is_floating_point_v<From> && std::is_integral_v<To> &&
                       !std::is_same_v<To, bool>) {
    // Out of range and NaN are undefined in C++; here they saturate and give 0.
    if (!(x == x)) return To(0);
    if (double(x) <= double(std::numeric_limits<To>::min())) return std::numeric_limits<To>::min();
    if (double(x) >= double(std::numeric_limits<To>::max())) return std::numeric_limits<To>::max();
    return To(x);
  } else {
    return To(x);
  }
}

template <class To, class From>
void convert_loop(void* y_, const void* x_, int64_t n, int64_t sy, int64_t sx, double, double) {
  To* y = static_cast<To*>(y_);
  const From* x = static_cast<const From*>(x_);
  if (sy == 1 && sx == 1 && std::is_same_v<To, From>) {
    if (y_ != x_) std::memcpy(y_, x_, size_t(n) * sizeof(To));
    return;
  }
  for (int64_t i = 0; i < n; ++i) y[i * sy] = convert<To, From>(x[i * sx]);
}

UnaryFn find_copy(DType to, DType from) {
  return dispatch_all(to, [&](auto t) {
    return dispatch_all(from, [&](auto f) -> UnaryFn {
      return convert_loop<typename decltype(t)::type, typename decltype(f)::type>;
    });
  });
}

constexpr int64_t kTaskElems = 32768;  ///< large enough that a task outweighs handing it out

// Calls row(pointers, n) for runs along the innermost axis; tasks are runs of about kTaskElems elements.
template <class Row>
void for_each_row(const Loop& loop, Row&& row) {
  const int inner = loop.ndim - 1;
  const int64_t n = loop.shape[inner];
  const int64_t rows = loop.numel / n;
  const int64_t pieces = (n + kTaskElems - 1) / kTaskElems;            // of one long row
  const int64_t rows_per_task = std::max<int64_t>(kTaskElems / n, 1);  // or several short rows
  const int64_t row_tasks = (rows + rows_per_task - 1) / rows_per_task;
  const int64_t piece = (n + pieces - 1) / pieces;
  parallel_for(row_tasks * pieces, [&](int64_t task, int) {
    const int64_t begin = (task % pieces) * piece, end = std::min(begin + piece, n);
    const int64_t first = task / pieces * rows_per_task, last = std::min(first + rows_per_task, rows);
    int64_t index[kMaxDims] = {};
    for (int64_t rest = first, axis = inner - 1; axis >= 0; --axis) {
      index[axis] = rest % loop.shape[axis];
      rest /= loop.shape[axis];
    }
    for (int64_t r = first; r < last; ++r) {
      char* at[4];
      for (int k = 0; k < loop.operands; ++k) {
        int64_t offset = begin * loop.strides[k][inner];
        for (int axis = 0; axis < inner; ++axis) offset += index[axis] * loop.strides[k][axis];
        at[k] = static_cast<char*>(loop.data[k]) + offset * int64_t(size_of(loop.dtype[k]));
      }
      if (end > begin) row(at, end - begin);
      for (int axis = inner - 1; axis >= 0 && ++index[axis] == loop.shape[axis]; --axis) index[axis] = 0;
    }
  });
}

/// Whether results are worth writing past the caches.
bool streams(const Loop& loop) {
  for (int k = 1; k < loop.operands; ++k)
    if (loop.data[k] == loop.data[0]) return false;
  return loop.dtype[0] == DType::float32 && loop.strides[0][loop.ndim - 1] == 1 &&
         loop.numel * int64_t(sizeof(float)) >= kStreamBytes;
}

/// Calls f(y, first, n) for tiles of a row of results, y in the nearest cache, and streams each to its place.
template <class F>
void stream_tiles(char* target, int64_t n, F&& f) {
  constexpr int64_t kTile = 1024;  // shorter ones make heavy formulas slower by half
  alignas(64) float tile[kTile];
  for (int64_t i = 0; i < n; i += kTile) {
    const int64_t count = std::min(kTile, n - i);
    f(tile, i, count);
    kernels().pointwise.stream(reinterpret_cast<float*>(target) + i, tile, count);
  }
  kernels().pointwise.stream_done();
}

}  // namespace

void unary(const UnaryParams& params) {
  const Loop& loop = params.loop;
  if (params.op == Unary::copy && layout_copy(loop)) return;
  const UnaryFn fn =
      params.op == Unary::copy ? find_copy(loop.dtype[0], loop.dtype[1]) : find(params.op, loop.dtype[1]);
  const int inner = loop.ndim - 1;
  const int64_t sy = loop.strides[0][inner], sx = loop.strides[1][inner];
  if (!streams(loop))
    return for_each_row(loop,
                        [&](char** at, int64_t n) { fn(at[0], at[1], n, sy, sx, params.p0, params.p1); });
  const int64_t x_step = sx * int64_t(size_of(loop.dtype[1]));
  const bool copies = params.op == Unary::copy && loop.dtype[1] == DType::float32 && sx == 1;
  for_each_row(loop, [&](char** at, int64_t n) {
    if (copies) {
      kernels().pointwise.stream(reinterpret_cast<float*>(at[0]), reinterpret_cast<const float*>(at[1]), n);
      return kernels().pointwise.stream_done();
    }
    stream_tiles(at[0], n, [&](float* y, int64_t first, int64_t count) {
      fn(y, at[1] + first * x_step, count, 1, sx, params.p0, params.p1);
    });
  });
}

void binary(const BinaryParams& params) {
  const Loop& loop = params.loop;
  const BinaryFn fn = find(params.op, loop.dtype[1]);
  const int inner = loop.ndim - 1;
  const int64_t sy = loop.strides[0][inner], sa = loop.strides[1][inner], sb = loop.strides[2][inner];
  const bool stream = streams(loop);
  const int64_t a_step = sa * int64_t(size_of(loop.dtype[1])), b_step = sb * int64_t(size_of(loop.dtype[2]));
  for_each_row(loop, [&](char** at, int64_t n) {
    const char* a = params.scalar_operand == 1 ? reinterpret_cast<const char*>(params.scalar) : at[1];
    const char* b = params.scalar_operand == 2 ? reinterpret_cast<const char*>(params.scalar) : at[2];
    if (!stream) return fn(at[0], a, b, n, sy, sa, sb, params.p0, params.p1);
    stream_tiles(at[0], n, [&](float* y, int64_t first, int64_t count) {
      fn(y, a + first * a_step, b + first * b_step, count, 1, sa, sb, params.p0, params.p1);
    });
  });
}

void pack_mask(const PackMaskParams& params) {
  const PackMaskFn fn = dispatch_float(params.dtype, "activation_mask", [&](auto type) {
    using T = typename decltype(type)::type;
    if constexpr (std::is_same_v<T, float>) return kernels().pointwise.pack_mask(params.op);
    return pack_mask_of<T, Accumulator<T>>(params.op);
  });
  const char* y = static_cast<const char*>(params.y);
  static_assert(kTaskElems % 8 == 0, "tasks share no byte");
  parallel_for((params.count + kTaskElems - 1) / kTaskElems, [&](int64_t task, int) {
    const int64_t first = task * kTaskElems, n = std::min(kTaskElems, params.count - first);
    fn(params.bits + first / 8, y + first * int64_t(size_of(params.dtype)), n, params.p0, params.p1);
  });
}

void apply_mask(const ApplyMaskParams& params) {
  const Loop& loop = params.loop;
  const ApplyMaskFn fn = dispatch_float(loop.dtype[0], "activation_mask", [&](auto type) {
    using T = typename decltype(type)::type;
    if constexpr (std::is_same_v<T, float>) return kernels().pointwise.apply_mask(params.op);
    return apply_mask_of<T, Accumulator<T>>(params.op);
  });
  const int64_t size = int64_t(size_of(loop.dtype[0])), stride = loop.strides[1][loop.ndim - 1];
  const bool stream = streams(loop);
  for_each_row(loop, [&](char** at, int64_t n) {
    const int64_t first = (at[0] - static_cast<char*>(loop.data[0])) / size;
    if (!stream) return fn(at[0], at[1], params.bits, first, n, stride, params.p0);
    stream_tiles(at[0], n, [&](float* y, int64_t done, int64_t count) {
      fn(y, at[1] + done * stride * size, params.bits, first + done, count, stride, params.p0);
    });
  });
}

void where(const WhereParams& params) {
  const Loop& loop = params.loop;
  const int inner = loop.ndim - 1;
  const int64_t sy = loop.strides[0][inner], sc = loop.strides[1][inner];
  const int64_t sa = loop.strides[2][inner], sb = loop.strides[3][inner];
  // Selection only moves bytes, so types of one size share the loop.
  const auto run = [&](auto zero) {
    using T = decltype(zero);
    for_each_row(loop, [&](char** at, int64_t n) {
      T* y = reinterpret_cast<T*>(at[0]);
      const bool* c = reinterpret_cast<const bool*>(at[1]);
      const T *a = reinterpret_cast<const T*>(at[2]), *b = reinterpret_cast<const T*>(at[3]);
      for (int64_t i = 0; i < n; ++i) y[i * sy] = c[i * sc] ? a[i * sa] : b[i * sb];
    });
  };
  switch (size_of(loop.dtype[0])) {
    case 1: return run(uint8_t{});
    case 2: return run(uint16_t{});
    case 4: return run(uint32_t{});
    default: return run(uint64_t{});
  }
}

}  // namespace fastcnn::cpu
