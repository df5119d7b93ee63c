// Convolution on tensor cores against plain loops: three passes, all kinds of operands, aligned and odd channels, both tiles,
// every order of threads and number of workers with the same bits. Its main loop meets no bank twice and moves whole
// sectors.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cmath>
#include <cstring>
#include <memory>

#include "cuda/conv_algos.h"
#include "emulator/counters.h"
#include "tools.h"

using namespace fastcnn;

namespace {

struct Shape {
  int64_t n, c, k, size, taps, stride, groups;
};

/// A row of the table. Errors are bounded by `eps` times the sum of the products' absolute values.
struct Row {
  const char* name;
  void (*run)(const ConvArgs&, Pass, void*);
  DType dtype;
  double eps;
};
constexpr Row kF16{"implicit_gemm_mma", cuda::conv_mma_run, DType::float16, 1e-3};
constexpr Row kBf16{"implicit_gemm_mma", cuda::conv_mma_run, DType::bfloat16, 8e-3};
constexpr Row kTf32{"implicit_gemm_tf32", cuda::conv_mma_tf32_run, DType::float32, 1e-3};
constexpr Row kDepthwise{"depthwise", cuda::conv_depthwise_run, DType::float32, 1e-6};
constexpr Row kTf32x3{"implicit_gemm_tf32x3", cuda::conv_mma_tf32x3_run, DType::float32, 5e-7};

/// Numbers in [-1, 1), the same for the same i: multiples of 1/8, exact in 16 bits, or with all bits of a float32.
template <class T>
T value(size_t i) {
  const auto bits = static_cast<uint32_t>(i * 2654435761u);
  return sizeof(T) == 4 ? T(static_cast<float>(bits >> 7) / 16777216.0f - 1.0f)
                        : T(static_cast<float>((bits >> 9) % 16) / 8.0f - 1.0f);
}

/// A map (n, channels, size, size) channels-last, or filters as they come.
template <class T>
struct Operand {
  std::vector<T> values;
  test::Device<T> device;
  Tensor tensor;
  Operand(const Dims& shape, DType dtype, bool channels_last, size_t seed)
      : values(static_cast<size_t>(numel(shape))), device(values.size()) {
    for (size_t i = 0; i < values.size(); ++i) values[i] = value<T>(i + seed);
    cudaMemcpy(device.p, values.data(), values.size() * sizeof(T), cudaMemcpyHostToDevice);
    tensor.storage = std::make_shared<Storage>();
    tensor.storage->data = device.p;
    tensor.shape = shape;
    tensor.dtype = dtype;
    const int64_t c = shape[1], h = shape[2], w = shape[3];
    tensor.strides = channels_last ? Dims{c * h * w, 1, w * c, c} : Dims{c * h * w, h * w, w, 1};
  }
  double at(int64_t a, int64_t b, int64_t c, int64_t d) const {
    const Dims& s = tensor.strides;
    const auto i = static_cast<size_t>(a * s[0] + b * s[1] + c * s[2] + d * s[3]);
    return static_cast<double>(static_cast<float>(values[i]));
  }
  void bring() { values = device.host(); }
};

template <class T>
struct Conv {
  Shape s;
  Row row;
  ConvProblem problem;
  Operand<T> x, w, y;
  Conv(const Shape& shape, const Row& row_)
      : s(shape),
        row(row_),
        problem("conv2d", {s.n, s.c, s.size, s.size}, {s.k, s.c / s.groups, s.taps, s.taps},
                {{s.stride, s.stride}, {1, 1}, {s.taps / 2, s.taps / 2}, {s.taps / 2, s.taps / 2}, s.groups},
                row.dtype),
        x({s.n, s.c, s.size, s.size}, row.dtype, true, 1),
        w({s.k, s.c / s.groups, s.taps, s.taps}, row.dtype, false, 2),
        y(problem.output_shape(), row.dtype, true, 3) {}

  void run(Pass pass) {
    const DeviceProps props;
    ConvArgs args(problem);
    args.x = x.tensor;
    args.w = w.tensor;
    args.y = y.tensor;
    const auto& table = cuda::conv_algos();
    for (const ConvAlgo& algo : table)
      if (std::string(algo.name) == row.name)
        args.workspace_bytes = algo.workspace_bytes(problem, pass, props);
    const test::Device<char> workspace(args.workspace_bytes);
    args.workspace = workspace.p;
    row.run(args, pass, nullptr);
    (pass == Pass::forward ? y : pass == Pass::backward_input ? x : w).bring();
  }
  /// f(n, k, channel of x, channel of w, output row, column, input row, column, tap row, column) for every product.
  template <class F>
  void for_each(F&& f) const {
    const int64_t cg = s.c / s.groups, kg = s.k / s.groups, out = problem.out[1];
    for (int64_t n = 0; n < s.n; ++n)
      for (int64_t k = 0; k < s.k; ++k)
        for (int64_t c = 0; c < cg; ++c)
          for (int64_t p = 0; p < out; ++p)
            for (int64_t q = 0; q < out; ++q)
              for (int64_t r = 0; r < s.taps; ++r)
                for (int64_t t = 0; t < s.taps; ++t) {
                  const int64_t h = p * s.stride + r - s.taps / 2, v = q * s.stride + t - s.taps / 2;
                  if (h >= 0 && h < s.size && v >= 0 && v < s.size)
                    f(n, k, k / kg * cg + c, c, p, q, h, v, r, t);
                }
  }
  /// Checks what `pass` has made.
  void check(Pass pass) {
    const bool forward = pass == Pass::forward, to_input = pass == Pass::backward_input;
    const Operand<T>& result = forward ? y : to_input ? x : w;
    std::vector<double> want(result.values.size()), size(result.values.size());
    const Dims& d = result.tensor.strides;
    for_each([&](int64_t n, int64_t k, int64_t c, int64_t cw, int64_t p, int64_t q, int64_t h, int64_t v,
                 int64_t r, int64_t t) {
      const double product = forward    ? x.at(n, c, h, v) * w.at(k, cw, r, t)
                             : to_input ? y.at(n, k, p, q) * w.at(k, cw, r, t)
                                        : y.at(n, k, p, q) * x.at(n, c, h, v);
      const auto i = static_cast<size_t>(forward    ? n * d[0] + k * d[1] + p * d[2] + q * d[3]
                                         : to_input ? n * d[0] + c * d[1] + h * d[2] + v * d[3]
                                                    : k * d[0] + cw * d[1] + r * d[2] + t * d[3]);
      want[i] += product;
      size[i] += std::abs(product);
    });
    for (size_t i = 0; i < want.size(); ++i) {
      const double got = static_cast<double>(static_cast<float>(result.values[i]));
      CHECK(std::abs(got - want[i]) <= row.eps * size[i]);
    }
  }
};

constexpr Pass kPasses[] = {Pass::forward, Pass::backward_input, Pass::backward_weight};

template <class T>
void test_pass(Pass pass, const Shape& shape, const Row& row) {
  Conv<T> conv(shape, row);
  conv.run(pass);
  conv.check(pass);
}

template <class T>
void test_passes(const Shape& shape, const Row& row) {
  for (const Pass pass : kPasses) test_pass<T>(pass, shape, row);
}

void all_shapes() {
  test_passes<__half>({2, 16, 24, 7, 3, 1, 1}, kF16);
  test_passes<__nv_bfloat16>({2, 16, 24, 7, 3, 2, 1}, kBf16);
  test_passes<__half>({1, 10, 6, 8, 3, 3, 2}, kF16);
  test_passes<float>({1, 16, 24, 7, 3, 2, 1}, kTf32x3);
  test_passes<float>({1, 10, 6, 5, 3, 1, 2}, kTf32);
}

/// Tiles of 128: blocks enough, or more than 64 filters and columns.
void test_large_tiles() {
  test_pass<__half>(Pass::forward, {1, 8, 72, 129, 1, 1, 1}, kF16);
  test_pass<__half>(Pass::backward_input, {1, 72, 8, 129, 1, 1, 1}, kF16);
  test_pass<__nv_bfloat16>(Pass::backward_weight, {1, 72, 72, 9, 1, 1, 1}, kBf16);
  for (const Row& row : {kTf32, kTf32x3}) {
    test_pass<float>(Pass::forward, {1, 8, 72, 129, 1, 1, 1}, row);
    test_pass<float>(Pass::backward_weight, {1, 72, 72, 9, 1, 1, 1}, row);
  }
}

template <class T>
void test_order_changes_no_bit(const Row& row) {
  const struct {
    int workers;
    emu::Order order;
  } runs[] = {{1, emu::Order::forward}, {2, emu::Order::reverse}, {4, emu::Order::shuffle}};
  for (const Pass pass : kPasses) {
    std::vector<T> first;
    for (const auto& run : runs) {
      emu::set_workers(run.workers);
      emu::set_order(run.order, 1);
      Conv<T> conv({4, 8, 8, 33, 3, 2, 1}, row);  // backward_weight in two parts
      CHECK(cuda::mma_weight(conv.problem).splits == 2);
      conv.run(pass);
      const auto& got = (pass == Pass::forward          ? conv.y
                         : pass == Pass::backward_input ? conv.x
                                                        : conv.w)
                            .values;
      if (first.empty()) first = got;
      CHECK(std::memcmp(got.data(), first.data(), got.size() * sizeof(T)) == 0);
    }
  }
  emu::set_workers(1);
  emu::set_order(emu::Order::forward);
}

/// Whole sectors and no bank twice, with aligned channels; of the filters and their gradient too, whose memory has the taps
/// innermost.
template <class T>
void test_traffic(const Row& row) {
  for (const Pass pass : kPasses) {
    Conv<T> conv({1, 64, 64, 8, 3, 1, 1}, row);
    emu::start_counting();
    conv.run(pass);
    const auto lines = emu::stop_counting();
    int matrices = 0, copies = 0, filters = 0;
    double worst = 0;
    for (const emu::Traffic& t : lines) {
      const double ratio = static_cast<double>(t.units) / static_cast<double>(t.ideal);
      matrices += t.file.find("mma_tile.cuh") != std::string::npos && t.shared && !t.store;
      copies += t.file.find("conv_mma") != std::string::npos && t.shared && t.store && t.bytes > 50000;
      filters += t.file.find("conv_filters.cuh") != std::string::npos;
      if (t.shared) CHECK(ratio == 1.0);
      if (!t.shared && ratio > worst) worst = ratio;
    }
    std::printf("%s, pass %d: sectors / ideal of the worst line = %.3f\n", row.name, static_cast<int>(pass),
                worst);
    CHECK(matrices == 1 && copies == (pass == Pass::backward_weight ? 1 : 2) && filters == 4 &&
          worst <= 1.05);
  }
}

/// The same of depthwise, whose blocks keep their filters in shared memory.
void test_depthwise() {
  for (const Pass pass : kPasses) {
    Conv<float> conv({2, 64, 64, 8, 3, 1, 64}, kDepthwise);
    emu::start_counting();
    conv.run(pass);
    double worst = 0;
    for (const emu::Traffic& t : emu::stop_counting()) {
      const double ratio = static_cast<double>(t.units) / static_cast<double>(t.ideal);
      if (!t.shared && ratio > worst) worst = ratio;
    }
    std::printf("depthwise, pass %d: sectors / ideal of the worst line = %.3f\n", static_cast<int>(pass),
                worst);
    CHECK(worst <= 1.05);
    conv.check(pass);
  }
}

}  // namespace

int main() {
  test::in_all_orders(all_shapes);
  emu::set_card("t4");
  test_passes<__half>({2, 16, 24, 7, 3, 2, 1}, kF16);
  emu::set_card("a100");
  if (!test::kThreadSanitizer) test_large_tiles();  // half a minute there
  test_order_changes_no_bit<__half>(kF16);
  if (!test::kThreadSanitizer) {
    test_order_changes_no_bit<float>(kTf32x3);
    test_traffic<__half>(kF16);
    test_traffic<float>(kTf32);
    test_traffic<float>(kTf32x3);
    test_depthwise();
  }
  return test::report("convolution on tensor cores");
}
