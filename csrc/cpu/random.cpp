#include "cpu/random.h"

#include <algorithm>

#include "common/normal.h"
#include "cpu/thread_pool.h"

namespace fastcnn::cpu {

namespace {

constexpr int64_t kTaskElems = 16384;  // whole blocks

template <class T>
constexpr int kBits = random_bits(std::is_same_v<T, double>     ? DType::float64
                                  : std::is_same_v<T, Half>     ? DType::float16
                                  : std::is_same_v<T, BFloat16> ? DType::bfloat16
                                                                : DType::float32);

// Calls f(element, its block) in order; `per_block` elements share a block.
template <class F>
void for_each_draw(const RandomKey& key, int64_t count, int per_block, F&& f) {
  parallel_for((count + kTaskElems - 1) / kTaskElems, [&](int64_t task, int) {
    const int64_t end = std::min(task * kTaskElems + kTaskElems, count);
    for (int64_t i = task * kTaskElems; i < end; i += per_block) {
      const PhiloxBlock b = philox(key, 0, uint64_t(i / per_block));
      for (int64_t j = i; j < std::min(i + per_block, end); ++j) f(j, b);
    }
  });
}

template <class T>
void fill_float(const RandomFillParams& p) {
  using A = Accumulator<T>;
  T* y = static_cast<T*>(p.y);
  const T* share = static_cast<const T*>(p.p);
  constexpr bool kWide = std::is_same_v<T, double>;
  switch (p.kind) {
    case RandomFillParams::uniform:
      return for_each_draw(p.key, p.count, kWide ? 2 : 4, [&](int64_t i, const PhiloxBlock& b) {
        y[i] = T(A(p.low + (p.high - p.low) * random_fraction(b, int(i & 3), kBits<T>)));
      });
    case RandomFillParams::normal:
      return for_each_draw(p.key, p.count, kWide ? 2 : 4, [&](int64_t i, const PhiloxBlock& b) {
        const double z = kWide ? random_normal2(b, int(i & 1)) : random_normal4(b, int(i & 3));
        y[i] = T(A(p.low + p.high * z));
      });
    default:
      return for_each_draw(p.key, p.count, 4, [&](int64_t i, const PhiloxBlock& b) {
        y[i] = T(A(b.word[i & 3] * 0x1p-32 < double(A(share[i])) ? 1 : 0));
      });
  }
}

template <class T>
void scale(const RandomScaleParams& p) {
  using A = Accumulator<T>;
  int64_t total = 1, size = 1;
  for (int i = 0; i < p.ndim; ++i) {
    total *= p.shape[i];
    if (i) size *= p.shape[i];
  }
  parallel_for((total + kTaskElems - 1) / kTaskElems, [&](int64_t task, int) {
    const int64_t begin = task * kTaskElems, end = std::min(begin + kTaskElems, total);
    int64_t index[kMaxDims] = {};
    for (int64_t rest = begin, axis = p.ndim - 1; axis >= 0; --axis) {
      index[axis] = rest % p.shape[axis];
      rest /= p.shape[axis];
    }
    int64_t sample = -1, block = -1;
    PhiloxBlock draws{};
    for (int64_t i = begin; i < end; ++i) {
      int64_t x_at = 0, y_at = 0, sign_at = 0;
      for (int axis = 0; axis < p.ndim; ++axis) {
        x_at += index[axis] * p.x_strides[axis];
        y_at += index[axis] * p.y_strides[axis];
        sign_at += index[axis] * p.sign_strides[axis];
      }
      const int64_t position = i % size;
      if (i / size != sample || position / 4 != block) {
        sample = i / size;
        block = position / 4;
        draws = philox(p.key, uint64_t(sample), uint64_t(block));
      }
      double factor = 1;
      if (p.kind == RandomScaleParams::gaussian) {
        factor = 1 + p.a * random_normal4(draws, int(position & 3));
      } else if (A(static_cast<const T*>(p.sign)[sign_at]) <= 0) {
        factor = p.a + (p.b - p.a) * random_fraction(draws, int(position & 3), kBits<float>);
      }
      static_cast<T*>(p.y)[y_at] = T(A(static_cast<const T*>(p.x)[x_at]) * A(factor));
      for (int axis = p.ndim - 1; axis >= 0 && ++index[axis] == p.shape[axis]; --axis) index[axis] = 0;
    }
  });
}

}  // namespace

void random_fill(const RandomFillParams& p) {
  if (p.kind == RandomFillParams::integer) {
    int64_t* y = static_cast<int64_t*>(p.y);
    return for_each_draw(p.key, p.count, 2, [&](int64_t i, const PhiloxBlock& b) {
      y[i] = int64_t(uint64_t(p.first) + random_below(random_word64(b, int(i & 1)), p.range));
    });
  }
  dispatch_float(p.dtype, "random", [&](auto type) { fill_float<typename decltype(type)::type>(p); });
}

void random_scale(const RandomScaleParams& p) {
  dispatch_float(p.dtype, "random_scale", [&](auto type) { scale<typename decltype(type)::type>(p); });
}

void random_permutation(int64_t* y, int64_t n, const RandomKey& key) {
  for (int64_t i = 0; i < n; ++i) y[i] = i;
  for (int64_t i = n - 1; i > 0; --i) {
    const PhiloxBlock b = philox(key, 0, uint64_t(i / 2));
    std::swap(y[i], y[random_below(random_word64(b, int(i & 1)), uint64_t(i) + 1)]);
  }
}

}  // namespace fastcnn::cpu
