// The library's kernels against plain loops: every dtype, odd sizes, unaligned tensors, every order of threads and
// any number of workers with the same bits. Their traffic: no more sectors and wavefronts than the bytes need.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cmath>
#include <cstring>

#include "cuda/relu.h"
#include "cuda/row_sum.h"
#include "cuda/transpose.h"
#include "emulator/counters.h"
#include "tools.h"

using namespace fastcnn;
using test::Device;

namespace {

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

void all_kernels() {
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

void test_traffic() {
  const Device<float> x(std::vector<float>(256 * 256, 1.0f)), y(256 * 256);
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
