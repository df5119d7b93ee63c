// Order of a float32 sum. Runs of at most kBlock elements are added in kSubsums interleaved sums; the sums of
// the blocks are combined pairwise (a binary counter), and so are the chunks: the rounding error grows with
// log(n), not n. Neither the ISA nor the number of threads enters.
#include "cpu/reduce.h"

#include <algorithm>
#include <limits>

#include "cpu/isa.h"
#include "cpu/thread_pool.h"

namespace fastcnn::cpu {

namespace {

constexpr int64_t kBlock = 256;     // elements of a block along a run
constexpr int64_t kBlockRows = 16;  // and of each lane
constexpr int kSubsums = 16;
constexpr int kLevels = 48;  // of the binary counter: blocks in 2^48 elements and more

template <class T>
bool is_nan(T x) {
  return x != x;
}
template <class T>
constexpr T lowest() {
  if constexpr (std::numeric_limits<T>::has_infinity) return -std::numeric_limits<T>::infinity();
  return std::numeric_limits<T>::lowest();
}
template <class T>
constexpr T highest() {
  if constexpr (std::numeric_limits<T>::has_infinity) return std::numeric_limits<T>::infinity();
  return std::numeric_limits<T>::max();
}
// The type that states compute in: float for 16 bits, int64 for sums of integers.
template <class T>
using Wide = std::conditional_t<std::is_integral_v<T>, int64_t, Accumulator<T>>;

// Integer sums and products wrap round, as in NumPy and torch, which only unsigned arithmetic may do in C++.
inline int64_t plus(int64_t a, int64_t b) { return int64_t(uint64_t(a) + uint64_t(b)); }
inline int64_t times(int64_t a, int64_t b) { return int64_t(uint64_t(a) * uint64_t(b)); }
template <class A>
A plus(A a, A b) {
  return a + b;
}
template <class A>
A times(A a, A b) {
  return a * b;
}

// An op: the State of what has been seen, load() of one element, join() of two states (a before b).
template <class T>
struct Sum {
  using State = Wide<T>;
  static State identity() { return 0; }
  static State load(T x, int64_t) { return State(x); }
  static State join(State a, State b) { return plus(a, b); }
};
template <class T>
struct Prod {
  using State = Wide<T>;
  static State identity() { return 1; }
  static State load(T x, int64_t) { return State(x); }
  static State join(State a, State b) { return times(a, b); }
};
template <class T, bool kMax>
struct Extreme {  // NaN wins
  using State = std::conditional_t<std::is_integral_v<T>, T, Accumulator<T>>;
  static State identity() { return kMax ? lowest<State>() : highest<State>(); }
  static State load(T x, int64_t) { return State(x); }
  static State join(State a, State b) { return ((kMax ? b > a : b < a) || is_nan(b)) ? b : a; }
};
template <class T, bool kAll>
struct Truth {
  using State = uint8_t;
  static State identity() { return kAll; }
  static State load(T x, int64_t) {
    if constexpr (sizeof(T) == 2)
      return float(x) != 0;
    else
      return x != T(0);
  }
  static State join(State a, State b) { return kAll ? a & b : a | b; }
};
template <class T, bool kMax>
struct Arg {  // the first NaN, else the first extreme
  using V = std::conditional_t<std::is_integral_v<T>, T, Accumulator<T>>;
  struct State {
    V value;
    int64_t index;
  };
  static State identity() { return {kMax ? lowest<V>() : highest<V>(), INT64_MAX}; }
  static State load(T x, int64_t index) { return {V(x), index}; }
  static State join(State a, State b) {
    const bool a_nan = is_nan(a.value), b_nan = is_nan(b.value);
    if (a_nan || b_nan) return a_nan && (!b_nan || a.index < b.index) ? a : b;
    if (a.value == b.value) return a.index < b.index ? a : b;
    return (kMax ? b.value > a.value : b.value < a.value) ? b : a;
  }
};

void offsets_of(const ReduceNest& nest, int64_t flat, int64_t& x, int64_t& y) {
  x = y = 0;
  for (int axis = nest.ndim - 1; axis >= 0; --axis) {
    const int64_t i = flat % nest.shape[axis];
    flat /= nest.shape[axis];
    x += i * nest.x[axis];
    y += i * nest.y[axis];
  }
}

/// Pairwise combination of a sequence of `width` states side by side.
template <class Op, int64_t kWidth>
class Pairwise {
 public:
  using State = typename Op::State;
  explicit Pairwise(int64_t width) : width_(width) {}
  State* next() { return states_[used_]; }  ///< write the next item here, then push()
  void push() {
    ++used_;
    for (uint64_t n = ++count_; !(n & 1); n >>= 1) join_top();
  }
  const State* result() {  // [width]; something must have been pushed
    while (used_ > 1) join_top();
    return states_[0];
  }

 private:
  void join_top() {
    State *a = states_[used_ - 2], *b = states_[used_ - 1];
    for (int64_t i = 0; i < width_; ++i) a[i] = Op::join(a[i], b[i]);
    --used_;
  }
  int64_t width_, used_ = 0;
  uint64_t count_ = 0;
  State states_[kLevels][kWidth];
};

// One block of n <= kBlock elements, `stride` apart; `index` numbers the first.
template <class Op, class T>
typename Op::State block(const T* x, int64_t n, int64_t stride, int64_t index) {
  using State = typename Op::State;
  State sub[kSubsums];
  for (int k = 0; k < kSubsums; ++k) sub[k] = Op::identity();
  int64_t i = 0;
  if (stride == 1) {
    for (; i + kSubsums <= n; i += kSubsums)
      for (int k = 0; k < kSubsums; ++k) sub[k] = Op::join(sub[k], Op::load(x[i + k], index + i + k));
  } else {
    for (; i + kSubsums <= n; i += kSubsums)
      for (int k = 0; k < kSubsums; ++k)
        sub[k] = Op::join(sub[k], Op::load(x[(i + k) * stride], index + i + k));
  }
  for (int k = 0; i < n; ++i, ++k) sub[k] = Op::join(sub[k], Op::load(x[i * stride], index + i));
  for (int width = kSubsums / 2; width > 0; width /= 2)
    for (int k = 0; k < width; ++k) sub[k] = Op::join(sub[k], sub[k + width]);
  return sub[0];
}

// One output: elements [begin, end) of the reduced nest.
template <class Op, class T>
typename Op::State run(const ReduceNest& nest, const T* x, int64_t begin, int64_t end) {
  if (begin >= end) return Op::identity();
  const int inner = nest.ndim - 1;
  const int64_t n = nest.shape[inner], stride = nest.x[inner];
  if (end - begin <= kBlock && n == nest.count)
    return block<Op>(x + begin * stride, end - begin, stride, begin);
  Pairwise<Op, 1> total(1);
  while (begin < end) {
    int64_t offset, unused;
    offsets_of(nest, begin, offset, unused);
    const int64_t run_end = std::min(end, begin + n - begin % n);
    for (int64_t i = begin; i < run_end; i += kBlock) {
      const int64_t count = std::min(kBlock, run_end - i);
      *total.next() = block<Op>(x + offset + (i - begin) * stride, count, stride, i);
      total.push();
    }
    begin = run_end;
  }
  return *total.result();
}

// `width` neighbouring outputs, `step` apart in x: rows [begin, end) of the reduced nest, into out[width].
template <class Op, class T>
void run_lanes(const ReduceNest& nest, const T* x, int64_t width, int64_t step, int64_t begin, int64_t end,
               typename Op::State* out) {
  using State = typename Op::State;
  Pairwise<Op, kReduceLanes> total(width);
  const int inner = nest.ndim - 1;
  for (int64_t first = begin; first < end; first += kBlockRows) {
    const int64_t last = std::min(end, first + kBlockRows);
    State* sum = total.next();
    int64_t offset, unused;
    offsets_of(nest, first, offset, unused);
    if constexpr (std::is_same_v<Op, Sum<float>> && std::is_same_v<T, float>) {
      if (step == 1 && first % nest.shape[inner] + last - first <= nest.shape[inner]) {
        kernels().reduce.sum_rows(x + offset, last - first, nest.x[inner], width, sum);
        total.push();
        continue;
      }
    }
    for (int64_t i = 0; i < width; ++i) sum[i] = Op::identity();
    for (int64_t row = first, at = first % nest.shape[inner]; row < last; ++row) {
      const T* from = x + offset;
      if (step == 1)
        for (int64_t i = 0; i < width; ++i) sum[i] = Op::join(sum[i], Op::load(from[i], row));
      else
        for (int64_t i = 0; i < width; ++i) sum[i] = Op::join(sum[i], Op::load(from[i * step], row));
      offset += nest.x[inner];
      if (++at == nest.shape[inner] && row + 1 < last) {
        at = 0;
        offsets_of(nest, row + 1, offset, unused);
      }
    }
    total.push();
  }
  if (begin >= end)
    for (int64_t i = 0; i < width; ++i) out[i] = Op::identity();
  else
    std::copy_n(total.result(), width, out);
}

template <class Op, class Y>
void store(const ReduceParams& p, int64_t at, typename Op::State state) {
  using State = typename Op::State;
  Y* y = static_cast<Y*>(p.y);
  if constexpr (std::is_class_v<State>) {
    if (y) y[at] = Y(state.value);
    if (p.indices) p.indices[at] = state.index;
  } else if constexpr (std::is_floating_point_v<State>) {
    y[at] = Y(p.divisor == 1 ? state : state / State(p.divisor));
  } else {
    y[at] = Y(state);
  }
}

template <class Op, class T, class Y>
void drive(const ReduceParams& p) {
  using State = typename Op::State;
  static_assert(sizeof(State) <= 16);  // reduce_workspace_bytes
  const T* x = static_cast<const T*>(p.x);
  State* partials = static_cast<State*>(p.partials);
  const int inner = p.kept.ndim - 1;
  const int64_t outputs = p.kept.count, elements = p.reduced.count;
  // A task is a group of neighbouring outputs and one chunk of what they reduce.
  const int64_t row = p.lanes ? p.kept.shape[inner] : outputs;
  const int64_t per_output = std::max<int64_t>(std::min(p.chunk, elements), 1);
  const int64_t group = p.lanes ? std::min(row, kReduceLanes)
                                : std::min(outputs, std::max<int64_t>(kReduceTask / per_output, 1));
  const int64_t groups = (row + group - 1) / group, rows = outputs / row;
  parallel_for(rows * groups * p.chunks, [&](int64_t task, int) {
    const int64_t chunk = task % p.chunks, rest = task / p.chunks;
    const int64_t first = rest / groups * row + rest % groups * group;
    const int64_t last = std::min(first + group, (rest / groups + 1) * row);
    const int64_t begin = chunk * p.chunk, end = std::min(begin + p.chunk, elements);
    int64_t from, to;
    if (p.lanes) {
      State out[kReduceLanes];
      offsets_of(p.kept, first, from, to);
      run_lanes<Op>(p.reduced, x + from, last - first, p.kept.x[inner], begin, end, out);
      for (int64_t o = first; o < last; ++o) {
        if (p.chunks > 1)
          partials[chunk * outputs + o] = out[o - first];
        else
          store<Op, Y>(p, to + (o - first) * p.kept.y[inner], out[o - first]);
      }
    } else {
      for (int64_t o = first; o < last; ++o) {
        offsets_of(p.kept, o, from, to);
        const State state = run<Op>(p.reduced, x + from, begin, end);
        if (p.chunks > 1)
          partials[chunk * outputs + o] = state;
        else
          store<Op, Y>(p, to, state);
      }
    }
  });
  if (p.chunks == 1) return;
  const int64_t per_task = std::max<int64_t>(kReduceTask / p.chunks, 1);
  parallel_for((outputs + per_task - 1) / per_task, [&](int64_t task, int) {
    for (int64_t o = task * per_task; o < std::min(outputs, (task + 1) * per_task); ++o) {
      Pairwise<Op, 1> total(1);
      for (int64_t chunk = 0; chunk < p.chunks; ++chunk) {
        *total.next() = partials[chunk * outputs + o];
        total.push();
      }
      int64_t from, to;
      offsets_of(p.kept, o, from, to);
      store<Op, Y>(p, to, *total.result());
    }
  });
}

}  // namespace

void reduce(const ReduceParams& p) {
  if (p.kept.count == 0) return;
  dispatch_all(p.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    using Y = std::conditional_t<std::is_integral_v<T>, int64_t, T>;
    switch (p.op) {
      case Reduce::sum: return drive<Sum<T>, T, Y>(p);
      case Reduce::prod: return drive<Prod<T>, T, Y>(p);
      case Reduce::max: return drive<Extreme<T, true>, T, T>(p);
      case Reduce::min: return drive<Extreme<T, false>, T, T>(p);
      case Reduce::any: return drive<Truth<T, false>, T, bool>(p);
      case Reduce::all: return drive<Truth<T, true>, T, bool>(p);
      case Reduce::argmax: return drive<Arg<T, true>, T, T>(p);
      default: return drive<Arg<T, false>, T, T>(p);
    }
  });
}

}  // namespace fastcnn::cpu
