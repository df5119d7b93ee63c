// sgemm against float64 for odd sizes and all strides; the same bits on 1, 2, 3 and 5 threads.
#include <cmath>
#include <random>
#include <vector>

#include "check.h"
#include "cpu/isa.h"
#include "cpu/sgemm.h"
#include "cpu/thread_pool.h"

using namespace fastcnn::cpu;

namespace {

std::mt19937 g_random(7);

std::vector<float> random_floats(size_t count) {
  std::normal_distribution<float> normal;
  std::vector<float> v(count);
  for (float& x : v) x = normal(g_random);
  return v;
}

bool check_case(int64_t m, int64_t n, int64_t k, int layout) {
  const bool ta = layout & 1, tb = layout & 2, accumulate = layout & 4, odd = layout & 8;
  Sgemm s{};
  s.m = m, s.n = n, s.k = k;
  const int64_t step = odd ? 2 : 1;  // neither rows nor columns contiguous
  s.a_row = ta ? step : k * step + 1;
  s.a_col = ta ? m * step + 1 : step;
  s.b_row = tb ? step : n * step + 3;
  s.b_col = tb ? k * step + 3 : step;
  s.c_row = n + 2;
  s.accumulate = accumulate;
  const auto a = random_floats(m * s.a_row + k * s.a_col + 1),
             b = random_floats(k * s.b_row + n * s.b_col + 1), bias = random_floats(n + 1),
             start = random_floats(m * s.c_row + 1);
  s.a = a.data(), s.b = b.data();
  s.bias = accumulate || odd ? nullptr : bias.data();

  std::vector<float> first;
  bool ok = true;
  for (int threads : {1, 2, 3, 5}) {
    set_num_threads(threads);
    auto c = start;
    std::vector<float> workspace(sgemm_workspace_bytes(m, n, k, threads) / 4 + 1, NAN);
    workspace.back() = 42.0f;
    s.c = c.data();
    sgemm(s, workspace.data(), threads);
    ok = ok && workspace.back() == 42.0f;
    if (first.empty()) first = c;
    ok = ok && first == c;
  }
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < s.c_row; ++j) {
      const float got = first[i * s.c_row + j];
      double sum = accumulate || j >= n ? start[i * s.c_row + j] : s.bias ? bias[j] : 0.0;
      double magnitude = std::fabs(sum);
      for (int64_t p = 0; p < k && j < n; ++p) {
        const double x = double(a[i * s.a_row + p * s.a_col]) * b[p * s.b_row + j * s.b_col];
        sum += x;
        magnitude += std::fabs(x);
      }
      ok = ok && std::fabs(got - sum) <= (j < n ? (k + 2) * 6e-8 * magnitude : 0.0);
    }
  if (!ok) std::printf("m %d n %d k %d layout %d on %s\n", int(m), int(n), int(k), layout, isa_name());
  return ok;
}

}  // namespace

int main() {
  for (const auto& isa : available_isas()) {
    set_isa(isa);
    for (int layout = 0; layout < 16; ++layout) {
      for (int64_t m : {1, 7, 97})
        for (int64_t n : {1, 10, 64, 150})
          for (int64_t k : {1, 5, 64}) CHECK(check_case(m, n, k, layout));
      CHECK(check_case(100, 70, 600, layout));
      CHECK(check_case(3, 4, 0, layout));
      CHECK(check_case(0, 4, 3, layout));
    }
  }
  return test::report("sgemm");
}
