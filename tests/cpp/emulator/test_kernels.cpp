// The library's kernels against plain loops: every dtype, odd sizes, unaligned tensors, every order of threads and
// any number of workers with the same bits. Their traffic: no more sectors and wavefronts than the bytes need.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "cuda/axis_map.h"
#include "cuda/elementwise.h"
#include "cuda/indexing.h"
#include "cuda/relu.h"
#include "cuda/row_sum.h"
#include "cuda/scan.h"
#include "cuda/transpose.h"
#include "emulator/counters.h"
#include "tools.h"

using namespace fastcnn;

namespace {

template <class T>
using Device = test::Device<T>;

/// Some values in [-2, 2), the same for the same i.
float value(size_t i) { return static_cast<float>((i * 2654435761u >> 7) % 4096) / 1024.0f - 2.0f; }

template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0;
}

template <class T>
void test_relu(DType dtype) {
  for (size_t n : {1, 3, 4, 31, 1023, 4099}) {
    for (size_t from : {0, 1}) {  // first elements, so that each side may be unaligned
      for (size_t to : {0, 1}) {
        std::vector<T> x(n + from, T(7)), want(n + to, T(5));
        for (size_t i = 0; i < n; ++i) x[i + from] = T(value(i));
        x[from] = T(-0.0f);
        if (n > 1) x[from + n - 1] = T(NAN);
        const Device<T> in(x), out(want);
        cuda::relu({dtype, in.p + from, out.p + to, static_cast<int64_t>(n)}, nullptr);
        for (size_t i = 0; i < n; ++i)
          want[i + to] = static_cast<double>(x[i + from]) < 0 ? T(0.0f) : x[i + from];
        CHECK(same_bits(out.host(), want));
      }
    }
  }
}

template <class T>
void test_row_sum(DType dtype, double bound) {
  std::vector<T> first;
  for (size_t columns : {1, 5, 8, 255, 256, 1024, 2500}) {
    const size_t rows = 3;
    std::vector<T> x(rows * columns);
    for (size_t i = 0; i < x.size(); ++i) x[i] = T(value(i));
    const Device<T> in(x), out(rows);
    cuda::row_sum({dtype, in.p, out.p, 3, static_cast<int64_t>(columns)}, nullptr);
    const auto got = out.host();
    for (size_t r = 0; r < rows; ++r) {
      double want = 0, size = 0;
      for (size_t c = 0; c < columns; ++c) {
        want += static_cast<double>(x[r * columns + c]);
        size += std::abs(static_cast<double>(x[r * columns + c]));
      }
      CHECK(std::abs(static_cast<double>(got[r]) - want) <= bound * size);
    }
    // One row, not a multiple of 16 bytes from the last: the same bits as aligned.
    std::vector<T> moved(columns + 1, T(9));
    std::copy(x.begin(), x.begin() + static_cast<std::ptrdiff_t>(columns), moved.begin() + 1);
    const Device<T> in2(moved), out2(1);
    cuda::row_sum({dtype, in2.p + 1, out2.p, 1, static_cast<int64_t>(columns)}, nullptr);
    CHECK(std::memcmp(out2.host().data(), got.data(), sizeof(T)) == 0);
  }
}

template <class T>
void test_transpose() {
  const struct {
    size_t batch, rows, columns;
  } shapes[] = {{1, 1, 1}, {2, 3, 70}, {3, 33, 32}, {1, 64, 31}, {2, 65, 129}};
  for (const auto& s : shapes) {
    std::vector<T> x(s.batch * s.rows * s.columns), want(x.size());
    for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<T>(i * 2654435761u);
    for (size_t b = 0; b < s.batch; ++b) {
      for (size_t r = 0; r < s.rows; ++r) {
        for (size_t c = 0; c < s.columns; ++c) {
          want[(b * s.columns + c) * s.rows + r] = x[(b * s.rows + r) * s.columns + c];
        }
      }
    }
    const Device<T> in(x), out(x.size());
    cuda::transpose({sizeof(T), in.p, out.p, static_cast<int64_t>(s.batch), static_cast<int64_t>(s.rows),
                     static_cast<int64_t>(s.columns)},
                    nullptr);
    CHECK(same_bits(out.host(), want));
  }
}

/// Lines of one tile and of two, ties and NaN; the first few and all: std::stable_sort's order.
void test_sort() {
  for (size_t count : {1, 33, 2100}) {
    const size_t lines = 2, k = count == 33 ? 5 : count;
    std::vector<float> x(lines * count);
    for (size_t i = 0; i < x.size(); ++i) x[i] = i % 17 == 3 ? NAN : std::floor(value(i) * 9);
    const Device<float> in(x), values(lines * k);
    const Device<int64_t> indices(lines * k);
    SortParams p{};
    p.lines = static_cast<int64_t>(lines);
    p.count = static_cast<int64_t>(count);
    p.k = static_cast<int64_t>(k);
    p.x.ndim = p.values.ndim = p.indices.ndim = 1;
    p.x.shape[0] = p.values.shape[0] = p.indices.shape[0] = p.lines;
    p.x.strides[0] = p.count;
    p.values.strides[0] = p.indices.strides[0] = p.k;
    p.x.step = p.values.step = p.indices.step = 1;
    p.x_data = in.p;
    p.values_data = values.p;
    p.indices_data = indices.p;
    const Device<char> workspace(p.tiles_bytes());
    p.workspace = workspace.p;
    cuda::sort(p, nullptr);
    const auto got = indices.host();
    for (size_t line = 0; line < lines; ++line) {
      std::vector<int64_t> want(count);
      for (size_t i = 0; i < count; ++i) want[i] = static_cast<int64_t>(i);
      const float* row = x.data() + line * count;
      std::stable_sort(want.begin(), want.end(), [&](int64_t a, int64_t b) {
        const float u = row[a], v = row[b];
        return std::isnan(u) || std::isnan(v) ? !std::isnan(u) && std::isnan(v) : u < v;
      });
      CHECK(std::equal(want.begin(), want.begin() + static_cast<std::ptrdiff_t>(k),
                       got.begin() + static_cast<std::ptrdiff_t>(line * k)));
    }
  }
}

void all_kernels() {
  test_sort();
  test_relu<float>(DType::float32);
  test_relu<double>(DType::float64);
  test_relu<__half>(DType::float16);
  test_relu<__nv_bfloat16>(DType::bfloat16);
  test_row_sum<float>(DType::float32, 1e-6);
  test_row_sum<double>(DType::float64, 1e-15);
  test_row_sum<__half>(DType::float16, 1e-3);
  test_row_sum<__nv_bfloat16>(DType::bfloat16, 8e-3);
  test_transpose<uint8_t>();
  test_transpose<uint16_t>();
  test_transpose<uint32_t>();
  test_transpose<uint64_t>();
}

/// The sums of a launch are a function of the problem: not of the order of threads, not of the workers.
void test_order_changes_no_bit() {
  std::vector<float> x(5000 * 40), first;
  for (size_t i = 0; i < x.size(); ++i) x[i] = value(i) * 1.1f;
  const Device<float> in(x), out(40);
  for (int workers : {1, 2, 4}) {
    emu::set_workers(workers);
    test::in_all_orders([&] {
      cuda::row_sum({DType::float32, in.p, out.p, 40, 5000}, nullptr);
      if (first.empty()) first = out.host();
      CHECK(same_bits(out.host(), first));
    });
  }
}

void check_traffic(const char* what) {
  const auto lines = emu::stop_counting();
  for (bool shared : {false, true}) {
    const emu::Traffic t = emu::total(lines, shared);
    if (!t.requests) continue;
    const double ratio = static_cast<double>(t.units) / static_cast<double>(t.ideal);
    std::printf("%-24s %s: %6llu requests, %8llu bytes, %s / ideal = %.3f\n", what,
                shared ? "shared" : "global", static_cast<unsigned long long>(t.requests),
                static_cast<unsigned long long>(t.bytes), shared ? "wavefronts" : "sectors", ratio);
    CHECK(ratio == 1.0);
  }
}

/// Maps along an axis, rows by index, running sums and sequences, in shapes of whole vectors.
void test_traffic_of_moves(const Device<float>& x, const Device<float>& y) {
  AxisMap::Rows twice;  // every cell stands for two
  for (int64_t i = 0; i <= 16; ++i) twice.begin.push_back(i);
  for (int64_t i = 0; i < 16; ++i) twice.index.push_back(i / 2);
  twice.weight.assign(16, 1.0);
  const Device<char> table(twice.table_bytes());
  emu::start_counting();
  cuda::axis_map({DType::float32, &twice, 4, 1024, 8, x.p, y.p, table.p}, nullptr);
  check_traffic("axis_map float32");

  const Device<uint8_t> bits(256 * 256 / 8);
  emu::start_counting();
  cuda::pack_mask({Binary::relu_backward, 0, 0, DType::float32, x.p, 256 * 256, bits.p}, nullptr);
  check_traffic("pack_mask float32");
  ApplyMaskParams apply{};
  apply.op = Binary::relu_backward;
  apply.loop.operands = 2;
  apply.loop.ndim = 1;
  apply.loop.shape[0] = apply.loop.numel = 256 * 256;
  apply.loop.strides[0][0] = apply.loop.strides[1][0] = 1;
  apply.loop.data[0] = y.p;
  apply.loop.data[1] = x.p;
  apply.bits = bits.p;
  emu::start_counting();
  cuda::apply_mask(apply, nullptr);
  check_traffic("apply_mask float32");

  emu::start_counting();
  cuda::ramp({DType::float32, 1 << 16, y.p, 0, 1, 0, false, 0, 1}, nullptr);
  check_traffic("ramp float32");

  CumsumParams sums{};
  sums.lines = 64;
  sums.count = 1024;
  sums.x.ndim = sums.y.ndim = 1;
  sums.x.shape[0] = sums.y.shape[0] = 64;
  sums.x.strides[0] = sums.y.strides[0] = 1024;
  sums.x.step = sums.y.step = 1;
  sums.x_data = x.p;
  sums.y_data = y.p;
  emu::start_counting();
  cuda::cumsum(sums, nullptr);
  check_traffic("cumsum float32");

  std::vector<int64_t> rows(64);
  for (size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<int64_t>(i * 37 % 256);
  const Device<int64_t> index(rows), keys(rows.size());
  IndexParams p{};
  p.mode = IndexMode::get;
  p.op = "index";
  p.x = x.p;
  p.values = y.p;
  p.inner.ndim = 1;
  p.inner.axis[0] = {256, 1, 1};
  p.positions_ndim = 1;
  p.positions_shape[0] = 64;
  p.values_stride[0] = 256;
  p.indexed = 1;
  p.extent[0] = p.stride[0] = 256;
  p.index[0] = index.p;
  p.index_dtype[0] = DType::int64;
  p.index_stride[0][0] = 1;
  p.workspace = keys.p;
  emu::start_counting();
  cuda::index(p, nullptr);
  check_traffic("index rows float32");
}

void test_traffic() {
  const Device<float> x(std::vector<float>(256 * 256, 1.0f)), y(256 * 256);
  test_traffic_of_moves(x, y);
  emu::start_counting();
  cuda::relu({DType::float32, x.p, y.p, 256 * 256}, nullptr);
  check_traffic("relu float32");
  emu::start_counting();
  cuda::row_sum({DType::float16, x.p, y.p, 64, 2048}, nullptr);
  check_traffic("row_sum float16");
  for (int bytes : {2, 4, 8}) {
    emu::start_counting();
    cuda::transpose({bytes, x.p, y.p, 2, 64, 128}, nullptr);
    check_traffic(("transpose, " + std::to_string(bytes) + " bytes").c_str());
  }
}

void test_errors() {
  const Device<float> x(16);
  try {
    cuda::relu({DType::int32, x.p, x.p, 16}, nullptr);
    CHECK(false);
  } catch (const TypeError& e) {
    CHECK(std::string(e.what()) == "relu: this op takes float tensors, got int32");
  }
  CHECK_THROWS(cuda::transpose({3, x.p, x.p, 1, 2, 2}, nullptr), ValueError);
  CHECK_THROWS(cuda::transpose({4, x.p, x.p, 1 << 22, 1 << 10, 1 << 10}, nullptr), ValueError);
  cuda::relu({DType::float32, x.p, x.p, 0}, nullptr);  // nothing to do
  try {
    cuda::relu({DType::float32, x.p, x.p, 32}, nullptr);
    CHECK(false);
  } catch (const DeviceError& e) {
    const std::string text = e.what();
    CHECK(
        text.find(
            "relu: CUDA error 700 (cudaErrorIllegalAddress), out of bounds: global load of 16 bytes at byte "
            "64 of an allocation of 64 bytes") == 0);
    CHECK(text.find("cuda/relu.cu:") != std::string::npos &&
          text.find("thread (4,0,0)") != std::string::npos);
  }
  emu::reset_errors();
}

}  // namespace

int main() {
  test::in_all_orders(all_kernels);
  test_order_changes_no_bit();
  if (!test::kThreadSanitizer) test_traffic();  // gathering the counts orders the threads
  test_errors();
  return test::report("emulated kernels");
}
