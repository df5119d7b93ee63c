// Products on pixels: every output once and right, whatever the order of the tasks, and tasks of one size, in numbers that
// two or four threads share without a rest.
#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "check.h"
#include "cpu/isa.h"
#include "cpu/patch_gemm.h"

using namespace fastcnn::cpu;

namespace {

std::mt19937 g_random(11);

std::vector<float> random_floats(size_t count) {
  std::normal_distribution<float> normal;
  std::vector<float> v(count);
  for (float& x : v) x = normal(g_random);
  return v;
}

/// A 1x1 convolution of `rows` pixels, channels last.
struct Pixels {
  int64_t rows, depth, columns;
  std::vector<float> x, w, packed, y;

  Pixels(int64_t rows, int64_t depth, int64_t columns)
      : rows(rows),
        depth(depth),
        columns(columns),
        x(random_floats(rows * depth)),
        w(random_floats(depth * columns)),
        packed(packed_filter_floats(1, depth, columns)),
        y(rows * columns, NAN) {
    const int64_t nr = kernels().gemm.nr;
    for (int64_t j = 0; j < columns; ++j)
      for (int64_t k = 0; k < depth; ++k) packed[j / nr * nr * depth + k * nr + j % nr] = w[k * columns + j];
  }

  PatchGemm product() {
    PatchGemm g{};
    g.gather.source = x.data();
    g.gather.batch_stride = rows * depth;
    g.gather.channel_stride = 1;
    g.gather.channels = depth;
    g.gather.axis[0] = {1, rows * depth, 1, 1, 1, 0, 1};
    g.gather.axis[1] = {1, rows * depth, 1, 1, 1, 0, 1};
    g.gather.axis[2] = {rows, depth, rows, 1, 1, 0, 1};
    g.groups = 1;
    g.rows = rows;
    g.depth = depth;
    g.columns = columns;
    g.filter = packed.data();
    g.out = {y.data(), rows * columns, 1, {rows * columns, rows * columns, columns}};
    return g;
  }
};

/// Runs the tasks from the last to the first: every output once, rows dealt out evenly, sums as in float64.
void check(int64_t rows, int64_t depth, int64_t columns) {
  Pixels pixels(rows, depth, columns);
  const PatchGemm g = pixels.product();
  CHECK(!patch_gemm_is_narrow(g));
  std::vector<float> scratch(patch_gemm_scratch_floats(g));
  int64_t least = rows, most = 0, written = 0;
  bool once = true, right = true;
  for (int64_t task = patch_gemm_tasks(g) - 1; task >= 0; --task) {
    std::vector<float> before = pixels.y;
    patch_gemm_task(g, task, scratch.data());
    int64_t mine = 0;
    for (int64_t i = 0; i < rows; ++i) {
      bool any = false;
      for (int64_t j = 0; j < columns; ++j) {
        const size_t at = i * columns + j;
        const bool now = std::isnan(before[at]) && !std::isnan(pixels.y[at]);
        any = any || now;
        written += now;
        once = once && (std::isnan(before[at]) || before[at] == pixels.y[at]);
      }
      mine += any;
    }
    least = std::min(least, mine);
    most = std::max(most, mine);
  }
  CHECK(once && written == rows * columns);
  CHECK(most - least <= 12);  // a tile, and what the last lacks
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < columns; ++j) {
      double sum = 0, magnitude = 0;
      for (int64_t k = 0; k < depth; ++k) {
        const double term = double(pixels.x[i * depth + k]) * pixels.w[k * columns + j];
        sum += term;
        magnitude += std::fabs(term);
      }
      right = right && std::fabs(pixels.y[i * columns + j] - sum) <= (depth + 2) * 6e-8 * magnitude;
    }
  CHECK(right);
}

int64_t tasks(int64_t rows, int64_t depth, int64_t columns) {
  return patch_gemm_tasks(Pixels(rows, depth, columns).product());
}

}  // namespace

int main() {
  // Rows that no tile divides, columns that fill no panel, more and less filters than pixels, depths of several steps.
  for (int64_t rows : {5, 49, 97, 131, 392, 577})
    for (int64_t columns : {40, 64, 160, 320})
      for (int64_t depth : {24, 130, 300}) check(rows, depth, columns);

  // N = 8 at 14x14 are nine blocks of 192 pixels: as nine tasks they would leave two threads five and four.
  for (int64_t columns : {64, 96, 160, 256, 384, 512, 1024})
    for (int64_t rows : {8 * 14 * 14, 8 * 28 * 28, 8 * 56 * 56}) CHECK(tasks(rows, 64, columns) % 4 == 0);
  // Few pixels are not cut for that: each block reads all filters.
  CHECK(tasks(49, 960, 160) == 3);
  return test::report("patch_gemm");
}
