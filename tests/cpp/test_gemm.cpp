// The GEMM micro-kernel of every ISA that this machine has, against a float64 triple loop: all edge sizes,
// both layouts of A, packed and plain B, NaN sentinels around C, and the same bits however the problem is
// cut.
#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "check.h"
#include "common/check.h"
#include "cpu/isa.h"

using namespace fastcnn::cpu;

namespace {

struct Case {
  int m, n;
  int64_t k;
  bool a_transposed, packed_b, accumulate;
};

std::vector<float> random_floats(size_t count, uint32_t seed) {
  std::mt19937 gen(seed);
  std::normal_distribution<float> normal;
  std::vector<float> v(count);
  for (float& x : v) x = normal(gen);
  return v;
}

bool check_case(const GemmKernels& g, const Case& t) {
  const int n_up = (t.n + g.lanes - 1) / g.lanes * g.lanes;
  const int64_t a_row = t.a_transposed ? 1 : t.k + 3, a_col = t.a_transposed ? t.m + 2 : 1;
  const int64_t b_row = t.packed_b ? g.nr : n_up, c_row = t.n + 5;
  const auto a = random_floats(t.m * a_row + t.k * a_col + 1, 1);
  auto b = random_floats(t.k * b_row + 1, 2);
  const auto start = random_floats(t.m * c_row + 8, 3);
  // Columns past n hold NaN: they may be loaded, but must not reach C.
  for (int64_t p = 0; p < t.k; ++p)
    for (int64_t j = t.n; j < b_row; ++j) b[p * b_row + j] = NAN;

  std::vector<float> c(start.size(), NAN);
  constexpr int kBefore = 3;  // C starts here, so that rows are not aligned and a guard lies in front
  for (int i = 0; i < t.m; ++i)
    for (int j = 0; j < t.n; ++j) c[kBefore + i * c_row + j] = start[i * c_row + j];
  auto cut = c;

  GemmTile tile = {a.data(), a_row, a_col, b.data(), b_row,       c.data() + kBefore,
                   c_row,    t.k,   t.m,   t.n,      t.accumulate};
  g.tile(&tile);

  bool ok = true;
  std::vector<char> inside(c.size());
  for (int i = 0; i < t.m; ++i)
    for (int j = 0; j < t.n; ++j) {
      double sum = t.accumulate ? start[i * c_row + j] : 0.0, magnitude = std::fabs(sum);
      for (int64_t p = 0; p < t.k; ++p) {
        const double x = double(a[i * a_row + p * a_col]) * b[p * b_row + j];
        sum += x;
        magnitude += std::fabs(x);
      }
      const float got = c[kBefore + i * c_row + j];
      inside[kBefore + i * c_row + j] = 1;
      ok = ok && std::fabs(got - sum) <= (t.k + 2) * 6e-8 * magnitude;
    }
  for (size_t i = 0; i < c.size(); ++i) ok = ok && (inside[i] || std::isnan(c[i]));

  // The same in pieces: rows one by one, depth in two parts.
  const int64_t k1 = t.k / 3;
  for (int i = 0; i < t.m; ++i) {
    GemmTile part = tile;
    part.m = 1;
    part.a = a.data() + i * a_row;
    part.c = cut.data() + kBefore + i * c_row;
    part.k = k1;
    g.tile(&part);
    part.a += k1 * a_col;
    part.b += k1 * b_row;
    part.k = t.k - k1;
    part.accumulate = 1;
    g.tile(&part);
  }
  for (size_t i = 0; i < c.size(); ++i) ok = ok && (!inside[i] || !std::memcmp(&c[i], &cut[i], 4));

  // The depth in three segments: the very bits of one stretch.
  if (t.k % 3 == 0) {
    const GemmSegment segments[] = {{0, 0}, {k1 * a_col, k1 * b_row}, {2 * k1 * a_col, 2 * k1 * b_row}};
    GemmTile whole = tile;
    for (int i = 0; i < t.m; ++i)
      for (int j = 0; j < t.n; ++j) cut[kBefore + i * c_row + j] = start[i * c_row + j];
    whole.c = cut.data() + kBefore;
    whole.k = k1;
    whole.segment = segments;
    whole.segments = 3;
    g.tile(&whole);
    for (size_t i = 0; i < c.size(); ++i) ok = ok && (!inside[i] || !std::memcmp(&c[i], &cut[i], 4));
  }

  if (!ok)
    std::printf("m %d n %d k %d a_transposed %d packed_b %d accumulate %d\n", t.m, t.n, int(t.k),
                t.a_transposed, t.packed_b, t.accumulate);
  return ok;
}

/// Rows of A in blocks, of which one step is as good as any: the very bits of the blocks one by one.
bool check_blocks_of_rows(const GemmKernels& g, int blocks, int rows, int n, int64_t k) {
  const int64_t step = 7 * rows + 1;
  const auto a = random_floats(blocks * step + k * 4, 1), b = random_floats(k * g.nr, 2);
  std::vector<float> c(blocks * rows * n, NAN), one_by_one = c;
  GemmTile tile = {a.data(), 1, 4, b.data(), g.nr, c.data(), n, k, blocks * rows, n, 0};
  tile.block_rows = rows;
  tile.block_step = step;
  g.tile(&tile);
  tile.block_rows = 0;
  tile.m = rows;
  tile.c = one_by_one.data();
  for (int i = 0; i < blocks; ++i, tile.a += step, tile.c += rows * n) g.tile(&tile);
  return !std::memcmp(c.data(), one_by_one.data(), c.size() * sizeof(float));
}

/// accumulate 2: the very bits of a product from zero that is added afterwards.
bool check_added_as_a_whole(const GemmKernels& g, int m, int n, int64_t k) {
  const auto a = random_floats(m * k, 1), b = random_floats(k * g.nr, 2), start = random_floats(m * n, 3);
  auto sum = start;
  std::vector<float> product(m * n);
  GemmTile tile = {a.data(), k, 1, b.data(), g.nr, product.data(), n, k, m, n, 0};
  g.tile(&tile);
  tile.c = sum.data();
  tile.accumulate = 2;
  g.tile(&tile);
  bool ok = true;
  for (size_t i = 0; i < sum.size(); ++i) ok = ok && sum[i] == start[i] + product[i];
  return ok;
}

/// The product of a transposed B, lanes along the depth: values, guards around C, the same bits row by row.
bool check_dot(const GemmKernels& g, int m, int n, int64_t k, int segments) {
  const int64_t a_row = k * segments + 1, b_row = k * segments + 2, c_row = n + 3;
  const auto a = random_floats(m * a_row + 1, 1), b = random_floats(n * b_row + 1, 2);
  std::vector<GemmSegment> segment(segments);
  for (int s = 0; s < segments; ++s) segment[s] = {(segments - 1 - s) * k, (segments - 1 - s) * k};
  std::vector<float> c(m * c_row + 1, NAN), rows = c;
  GemmTile tile = {a.data(), a_row, 1, b.data(), b_row,          c.data() + 1, c_row,
                   k,        m,     n, 0,        segment.data(), segments};
  g.dot(&tile);
  tile.m = 1;
  for (int i = 0; i < m; ++i, tile.a += a_row) {
    tile.c = rows.data() + 1 + i * c_row;
    g.dot(&tile);
  }
  bool ok = !std::memcmp(c.data(), rows.data(), c.size() * sizeof(float)) && std::isnan(c[0]);
  for (int i = 0; i < m; ++i)
    for (int64_t j = 0; j < c_row; ++j) {
      const float got = c[1 + i * c_row + j];
      double sum = 0, magnitude = 0;
      for (int64_t p = 0; j < n && p < k * segments; ++p) {
        sum += double(a[i * a_row + p]) * b[j * b_row + p];
        magnitude += std::fabs(double(a[i * a_row + p]) * b[j * b_row + p]);
      }
      ok = ok && (j < n ? std::fabs(got - sum) <= (k * segments + 2) * 6e-8 * magnitude : std::isnan(got));
    }
  if (!ok) std::printf("dot: m %d n %d k %d segments %d\n", m, n, int(k), segments);
  return ok;
}

void test_isa(const std::string& isa) {
  set_isa(isa);
  CHECK(isa == isa_name());
  const GemmKernels& g = kernels().gemm;
  CHECK(g.nr % g.lanes == 0 && g.mr > 0);
  for (int m = 0; m <= 26; ++m)
    for (int n = 0; n <= g.nr; ++n) {
      const int64_t k = (m * 7 + n * 5) % 23;
      CHECK(check_case(g, {m, n, k, (m & 1) != 0, (n & 1) != 0, ((m + n) & 2) != 0}));
    }
  for (int m : {1, 5, g.mr, 2 * g.mr + 1})
    for (int n = 1; n <= g.nr; ++n) CHECK(check_added_as_a_whole(g, m, n, 37));
  for (int blocks : {1, 2, 3, 5})
    for (int rows : {3, 6, 9})
      for (int n = 1; n <= g.nr; ++n) CHECK(check_blocks_of_rows(g, blocks, rows, n, 19));
  for (int m : {0, 1, 3, 4, 9})
    for (int n = 1; n <= 13; ++n)
      for (int64_t k : {1, 7, 16, 37})
        for (int segments : {0, 1, 3}) CHECK(check_dot(g, m, n, k, segments));
  for (int64_t k : {0, 1, 2, 300})
    for (bool accumulate : {false, true})
      for (bool a_transposed : {false, true})
        CHECK(check_case(g, {2 * g.mr + 1, g.nr - 1, k, a_transposed, true, accumulate}));
}

}  // namespace

int main() {
  for (const auto& isa : available_isas()) test_isa(isa);
  CHECK_THROWS(set_isa("mmx"), fastcnn::ValueError);
  CHECK(!cpu_facts().model.empty() && cpu_facts().l1_bytes >= 8 << 10 && cpu_facts().l2_bytes > 0);
  return test::report("gemm");
}
