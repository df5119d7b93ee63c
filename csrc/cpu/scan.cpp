#include "cpu/scan.h"

#include <algorithm>

#include "cpu/thread_pool.h"

namespace fastcnn::cpu {

namespace {

constexpr int64_t kTaskElems = 16384;

int64_t div_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

template <class F>
void for_each_line(int64_t lines, int64_t count, int workers, F&& f) {
  const int64_t per_task = std::max<int64_t>(kTaskElems / std::max<int64_t>(count, 1), 1);
  parallel_for(
      div_up(lines, per_task),
      [&](int64_t task, int slot) {
        const int64_t end = std::min((task + 1) * per_task, lines);
        for (int64_t line = task * per_task; line < end; ++line) f(line, slot);
      },
      workers);
}

template <class K>
struct Entry {
  K key;
  int64_t position;
};

template <class K>
bool is_nan(K x) {
  if constexpr (std::is_floating_point_v<K>) return x != x;
  return false;
}

template <class T>
void sort_lines(const SortParams& p) {
  using K = Accumulator<T>;  // 16-bit numbers are compared as float32
  static_assert(sizeof(Entry<K>) <= 16);
  const T* x = static_cast<const T*>(p.x_data);
  T* values = static_cast<T*>(p.values_data);
  // A total order, NaN above all numbers; equal keys stay in the order in which they came.
  const auto before = [&](const Entry<K>& a, const Entry<K>& b) {
    const bool a_nan = is_nan(a.key), b_nan = is_nan(b.key);
    if (a_nan != b_nan) return a_nan == p.descending;
    if (!a_nan && a.key != b.key) return p.descending ? b.key < a.key : a.key < b.key;
    return a.position < b.position;
  };
  for_each_line(p.lines, p.count, p.workers, [&](int64_t line, int slot) {
    auto* entries =
        reinterpret_cast<Entry<K>*>(static_cast<char*>(p.workspace) + size_t(slot) * p.bytes_per_worker());
    const T* row = x + p.x.offset(line);
    for (int64_t i = 0; i < p.count; ++i) entries[i] = {K(row[i * p.x.step]), i};
    if (p.k < p.count) std::nth_element(entries, entries + p.k, entries + p.count, before);
    std::sort(entries, entries + p.k, before);
    T* out = values ? values + p.values.offset(line) : nullptr;
    int64_t* where = p.indices_data + p.indices.offset(line);
    for (int64_t i = 0; i < p.k; ++i) {
      if (out) out[i * p.values.step] = row[entries[i].position * p.x.step];
      where[i * p.indices.step] = entries[i].position;
    }
  });
}

// Sums of floats run in float64, of integers modulo 2^64.
template <class T>
void sum_lines(const CumsumParams& p) {
  constexpr bool real = !std::is_integral_v<T>;
  using A = std::conditional_t<real, double, uint64_t>;
  using Y = std::conditional_t<real, T, int64_t>;
  const auto to_result = [](A sum) {
    if constexpr (real)
      return Y(Accumulator<T>(sum));
    else
      return Y(sum);
  };
  const T* x = static_cast<const T*>(p.x_data);
  Y* y = static_cast<Y*>(p.y_data);
  for_each_line(p.lines, p.count, 0, [&](int64_t line, int) {
    const T* row = x + p.x.offset(line);
    Y* out = y + p.y.offset(line);
    A sum = 0;
    for (int64_t i = 0; i < p.count; ++i) {
      const int64_t at = p.reverse ? p.count - 1 - i : i;
      sum += A(Accumulator<T>(row[at * p.x.step]));
      out[at * p.y.step] = to_result(sum);
    }
  });
}

}  // namespace

void sort(const SortParams& p) {
  dispatch_all(p.dtype, [&](auto type) { sort_lines<typename decltype(type)::type>(p); });
}

void cumsum(const CumsumParams& p) {
  dispatch_all(p.dtype, [&](auto type) { sum_lines<typename decltype(type)::type>(p); });
}

void ramp(const RampParams& p) {
  dispatch_all(p.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    T* y = static_cast<T*>(p.y);
    parallel_for(div_up(p.count, kTaskElems), [&](int64_t task, int) {
      const int64_t end = std::min((task + 1) * kTaskElems, p.count);
      for (int64_t i = task * kTaskElems; i < end; ++i) {
        if constexpr (std::is_integral_v<T>)
          y[i] = T(p.whole(i));
        else
          y[i] = T(Accumulator<T>(p.real(i)));
      }
    });
  });
}

}  // namespace fastcnn::cpu
