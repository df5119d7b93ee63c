// Sum, product, extremes, truth and positions of extremes over some axes. The plan (which elements make a chunk) is the
// CPU's; within a chunk the order here is another, and as fixed: it depends on the numbers of elements alone.
//
//   rows    an output's own elements lie side by side in memory: a group of threads walks along them and meets in shared
//           memory. Groups of 32 threads for short rows, of 256 for long ones.
//   lanes   neighbouring outputs lie side by side: neighbouring threads take neighbouring outputs, and eight rows of
//           threads share the elements.
//
// Results of chunks meet in a second kernel.
#include "cuda/dispatch.cuh"
#include "cuda/launch.cuh"
#include "cuda/reduce.h"
#include "cuda/vec.cuh"
#include "cuda/walk.cuh"

namespace fastcnn::cuda {
namespace {

constexpr int kLog2Threads = 8, kThreads = 1 << kLog2Threads, kLanes = 32, kRows = kThreads / kLanes;

// An op: the State of what has been seen, load() of one element, join() of two states.
template <class T>
using SumOf = std::conditional_t<std::is_floating_point_v<Wide<T>>, Wide<T>, int64_t>;
template <class T>
struct Sum {
  using State = SumOf<T>;
  FC_DEVICE State identity() { return State(0); }
  FC_DEVICE State load_(T x, int64_t) { return static_cast<State>(widen(x)); }
  FC_DEVICE State join(State a, State b) { return a + b; }
};
template <class T>
struct Product {
  using State = SumOf<T>;
  FC_DEVICE State identity() { return State(1); }
  FC_DEVICE State load_(T x, int64_t) { return static_cast<State>(widen(x)); }
  FC_DEVICE State join(State a, State b) { return a * b; }
};
template <class T, bool kMax>
struct Extreme {  // NaN wins
  using State = Wide<T>;
  FC_DEVICE State identity() { return kMax ? kLowest<State> : kHighest<State>; }
  FC_DEVICE State load_(T x, int64_t) { return widen(x); }
  FC_DEVICE State join(State a, State b) {
    if (a != a) return a;
    return (kMax ? b > a : b < a) || b != b ? b : a;
  }
};
template <class T, bool kAll>
struct Truth {
  using State = int;
  FC_DEVICE State identity() { return kAll; }
  FC_DEVICE State load_(T x, int64_t) { return widen(x) != 0; }
  FC_DEVICE State join(State a, State b) { return kAll ? a & b : a | b; }
};
template <class A>
struct Found {
  A value;
  int64_t index;
};
template <class T, bool kMax>
struct Arg {  // the first NaN, else the first extreme
  using State = Found<Wide<T>>;
  FC_DEVICE State identity() { return {kMax ? kLowest<Wide<T>> : kHighest<Wide<T>>, INT64_MAX}; }
  FC_DEVICE State load_(T x, int64_t index) { return {widen(x), index}; }
  FC_DEVICE State join(State a, State b) {
    const bool a_nan = a.value != a.value, b_nan = b.value != b.value;
    if (a_nan || b_nan) return a_nan && (!b_nan || a.index < b.index) ? a : b;
    if (a.value == b.value) return a.index < b.index ? a : b;
    return (kMax ? b.value > a.value : b.value < a.value) ? b : a;
  }
};

/// Runs of kRun states are joined on their own, and runs of runs: the rounding error of a sum grows with the sum of the
/// runs' lengths, not with their product.
template <class Op>
struct Cascade {
  static constexpr int kRun = 16;
  using State = typename Op::State;
  State level[3] = {Op::identity(), Op::identity(), Op::identity()};
  int in_run = 0, runs = 0;

  FC_METHOD void add(State state) {
    level[0] = Op::join(level[0], state);
    if (++in_run < kRun) return;
    level[1] = Op::join(level[1], level[0]);
    level[0] = Op::identity();
    in_run = 0;
    if (++runs < kRun) return;
    level[2] = Op::join(level[2], level[1]);
    level[1] = Op::identity();
    runs = 0;
  }
  FC_METHOD State result() const { return Op::join(Op::join(level[2], level[1]), level[0]); }
};

template <class T, class Y>
struct Problem {
  const T* x;
  Y* y;
  int64_t* indices;
  Walk<2> kept;     // x, y
  Walk<1> reduced;  // x
  unsigned outputs, elements;
  int64_t chunk, chunks;
  double divisor;

  template <class State>
  FC_METHOD void write(unsigned output, const State& state) const {
    int64_t at[2];
    kept.offsets(output, at);
    if constexpr (std::is_class_v<State>) {
      if (y) store(y + at[1], Narrow<Y>::of(state.value));
      if (indices) store(indices + at[1], state.index);
    } else if constexpr (std::is_floating_point_v<State>) {
      store(y + at[1], Narrow<Y>::of(divisor == 1 ? state : state / static_cast<State>(divisor)));
    } else {
      store(y + at[1], Narrow<Y>::of(state));
    }
  }
  /// Elements begin, begin + step, ... below end of the output whose first element is at `from`.
  template <class Op>
  FC_METHOD typename Op::State over(int64_t from, int64_t begin, int64_t end, int64_t step) const {
    Cascade<Op> total;
    for (int64_t i = begin; i < end; i += step) {
      int64_t at[1];
      reduced.offsets(static_cast<unsigned>(i), at);
      total.add(Op::load_(load(x + from + at[0]), i));
    }
    return total.result();
  }
};

/// A block of kThreads / group outputs, each of one chunk, group = 2^log2_group threads to an output.
template <class Op, class T, class Y>
FC_KERNEL reduce_rows_kernel(Problem<T, Y> p, int log2_group, typename Op::State* partials) {
  using State = typename Op::State;
  FC_SHARED(State, states, [kThreads]);
  const int group = 1 << log2_group;
  const int thread = static_cast<int>(threadIdx.x), member = thread & (group - 1);
  const unsigned output = (blockIdx.x << (kLog2Threads - log2_group)) + (threadIdx.x >> log2_group);
  const int64_t chunk = blockIdx.y, begin = chunk * p.chunk;
  const int64_t end = begin + p.chunk < p.elements ? begin + p.chunk : p.elements;
  State state = Op::identity();
  if (output < p.outputs) {
    int64_t from[2];
    p.kept.offsets(output, from);
    state = p.template over<Op>(from[0], begin + member, end, group);
  }
  states[thread] = state;
  for (int width = group / 2; width > 0; width /= 2) {
    __syncthreads();
    if (member < width) states[thread] = state = Op::join(state, states[thread + width]);
  }
  if (member != 0 || output >= p.outputs) return;
  if (p.chunks > 1) {
    partials[chunk * p.outputs + output] = state;
  } else {
    p.write(output, state);
  }
}

/// A block for 32 neighbouring outputs and one chunk.
template <class Op, class T, class Y>
FC_KERNEL reduce_lanes_kernel(Problem<T, Y> p, typename Op::State* partials) {
  using State = typename Op::State;
  FC_SHARED(State, states, [kRows][kLanes]);
  const int lane = static_cast<int>(threadIdx.x), row = static_cast<int>(threadIdx.y);
  const unsigned output = blockIdx.x * kLanes + static_cast<unsigned>(lane);
  const int64_t chunk = blockIdx.y, begin = chunk * p.chunk;
  const int64_t end = begin + p.chunk < p.elements ? begin + p.chunk : p.elements;
  State state = Op::identity();
  if (output < p.outputs) {
    int64_t from[2];
    p.kept.offsets(output, from);
    state = p.template over<Op>(from[0], begin + row, end, kRows);
  }
  states[row][lane] = state;
  __syncthreads();
  if (row != 0 || output >= p.outputs) return;
  for (int r = 1; r < kRows; ++r) state = Op::join(state, states[r][lane]);
  if (p.chunks > 1) {
    partials[chunk * p.outputs + output] = state;
  } else {
    p.write(output, state);
  }
}

template <class Op, class T, class Y>
FC_KERNEL reduce_chunks_kernel(Problem<T, Y> p, const typename Op::State* partials) {
  const unsigned output = blockIdx.x * kThreads + threadIdx.x;
  if (output >= p.outputs) return;
  Cascade<Op> total;
  for (int64_t chunk = 0; chunk < p.chunks; ++chunk) total.add(partials[chunk * p.outputs + output]);
  p.write(output, total.result());
}

template <class Op, class Y, class T>
void run(const ReduceParams& q, cudaStream_t stream) {
  using State = typename Op::State;
  static_assert(sizeof(State) <= 16, "reduce_workspace_bytes");
  FC_CHECK(q.kept.count <= kMaxIndices && q.reduced.count <= kMaxIndices, name_of(q.op), ": got ",
           q.kept.count, " results of ", q.reduced.count, " elements, expected at most ", kMaxIndices,
           " of each on CUDA");
  Problem<T, Y> p{};
  p.x = static_cast<const T*>(q.x);
  p.y = static_cast<Y*>(q.y);
  p.indices = q.indices;
  const int64_t *const kept[] = {q.kept.x, q.kept.y}, *const reduced[] = {q.reduced.x};
  p.kept = make_walk(q.kept.ndim, q.kept.shape, kept);
  p.reduced = make_walk(q.reduced.ndim, q.reduced.shape, reduced);
  p.outputs = static_cast<unsigned>(q.kept.count);
  p.elements = static_cast<unsigned>(q.reduced.count);
  p.chunk = q.chunk;
  p.chunks = q.chunks;
  p.divisor = q.divisor;
  FC_CHECK(q.chunks <= 65535, name_of(q.op), ": too many elements for CUDA, got ", q.reduced.count);
  auto* partials = static_cast<State*>(q.partials);
  const auto chunks = static_cast<unsigned>(q.chunks);
  const char* name = name_of(q.op);
  if (q.lanes) {
    launch(name, reduce_lanes_kernel<Op, T, Y>,
           {dim3(ceil_div<unsigned>(p.outputs, kLanes), chunks), dim3(kLanes, kRows), stream}, p, partials);
  } else {
    const int log2_group = q.chunk <= 1024 ? 5 : kLog2Threads;
    const auto blocks = ceil_div<int64_t>(int64_t{p.outputs} << log2_group, kThreads);
    launch(name, reduce_rows_kernel<Op, T, Y>,
           {dim3(static_cast<unsigned>(blocks), chunks), dim3(kThreads), stream}, p, log2_group, partials);
  }
  if (chunks > 1) {
    launch(name, reduce_chunks_kernel<Op, T, Y>,
           {dim3(ceil_div<unsigned>(p.outputs, kThreads)), dim3(kThreads), stream}, p,
           static_cast<const State*>(partials));
  }
}

}  // namespace

void reduce(const ReduceParams& p, void* stream_) {
  if (p.kept.count == 0) return;
  const auto stream = static_cast<cudaStream_t>(stream_);
  dispatch_device(p.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    using Y = std::conditional_t<std::is_integral_v<T>, int64_t, T>;
    switch (p.op) {
      case Reduce::sum: return run<Sum<T>, Y, T>(p, stream);
      case Reduce::prod: return run<Product<T>, Y, T>(p, stream);
      case Reduce::max: return run<Extreme<T, true>, T, T>(p, stream);
      case Reduce::min: return run<Extreme<T, false>, T, T>(p, stream);
      case Reduce::any: return run<Truth<T, false>, bool, T>(p, stream);
      case Reduce::all: return run<Truth<T, true>, bool, T>(p, stream);
      case Reduce::argmax: return run<Arg<T, true>, T, T>(p, stream);
      default: return run<Arg<T, false>, T, T>(p, stream);
    }
  });
}

}  // namespace fastcnn::cuda
