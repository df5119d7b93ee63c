// Warp collectives: each a plain function over the arguments of the lanes that take part. ldmatrix and mma.sync have the
// layouts of the PTX ISA. The emulated mma adds up a few products and the sum so far exactly and cuts the result off to
// float32, toward zero, as tensor cores are reported to do (Fasi et al., Numerical behavior of NVIDIA tensor cores, 2021);
// the card also cuts off while it aligns the terms.
#include <cmath>
#include <cstring>

#include "emulator/core.h"
#include "emulator/sanitizers.h"

namespace emu {
namespace {

struct Exchange {
  uint64_t bits;
  unsigned from;
  uint64_t result;
};
/// A lane that takes no part has nothing to give: all ones, which is NaN in every float type.
void apply_shuffle(void* const* args) {
  for (int i = 0; i < 32; ++i) {
    if (!args[i]) continue;
    auto& a = *static_cast<Exchange*>(args[i]);
    a.result = args[a.from] ? static_cast<Exchange*>(args[a.from])->bits : ~uint64_t{0};
  }
}

struct Vote {
  bool value;
  unsigned result;
};
void apply_ballot(void* const* args) {
  unsigned result = 0;
  for (int i = 0; i < 32; ++i) result |= args[i] && static_cast<Vote*>(args[i])->value ? 1u << i : 0u;
  for (int i = 0; i < 32; ++i) {
    if (args[i]) static_cast<Vote*>(args[i])->result = result;
  }
}

constexpr unsigned kAll = 0xffffffffu;

struct LoadArg {
  int count;
  bool transposed;
  uint16_t row[8];
  unsigned* out;
};
/// Matrix m has its rows in lanes 8 m .. 8 m + 7; each lane gets two neighbours of row lane / 4, or of a column.
void apply_load(void* const* args) {
  for (int lane = 0; lane < 32; ++lane) {
    auto& a = *static_cast<LoadArg*>(args[lane]);
    for (int m = 0; m < a.count; ++m) {
      const int line = lane / 4, pair = lane % 4 * 2;
      auto element = [&](int r, int c) { return unsigned{static_cast<LoadArg*>(args[8 * m + r])->row[c]}; };
      a.out[m] = a.transposed ? element(pair, line) | element(pair + 1, line) << 16
                              : element(line, pair) | element(line, pair + 1) << 16;
    }
  }
}

struct MultiplyArg {
  Matrix kind;
  const unsigned *a, *b;
  float* c;
};
float value(Matrix kind, unsigned word, int half) {
  if (kind == Matrix::tf32) return float_of(word & 0xffffe000u);  // the card looks at 19 bits
  const auto bits = static_cast<uint16_t>(word >> 16 * half);
  return kind == Matrix::bf16 ? from_bfloat16(bits) : from_half(bits);
}
/// The float32 next to v toward zero; infinity where v is beyond them.
float cut_off(double v) {
  const auto nearest = static_cast<float>(v);
  const bool above = std::abs(static_cast<double>(nearest)) > std::abs(v);
  return above && std::isfinite(nearest) ? float_of(bits_of(nearest) - 1) : nearest;
}
/// D = A B + C: 16 x 8 += 16 x K by K x 8. A word holds two neighbours in K, or one of tf32.
void apply_multiply(void* const* args) {
  const Matrix kind = static_cast<MultiplyArg*>(args[0])->kind;
  const int per_word = kind == Matrix::tf32 ? 1 : 2, half = 4 * per_word;  // half of K, if K has two halves
  const int k_size = kind == Matrix::f16_k8 ? 8 : 2 * half, at_once = half;
  double a[16][16], b[16][8];
  for (int lane = 0; lane < 32; ++lane) {
    const auto& arg = *static_cast<MultiplyArg*>(args[lane]);
    const int group = lane / 4, first = lane % 4 * per_word;
    for (int part = 0; part < k_size / half; ++part) {
      for (int i = 0; i < per_word; ++i) {
        const int k = part * half + first + i;
        a[group][k] = double{value(kind, arg.a[2 * part], i)};
        a[group + 8][k] = double{value(kind, arg.a[2 * part + 1], i)};
        b[k][group] = double{value(kind, arg.b[part], i)};
      }
    }
  }
  for (int row = 0; row < 16; ++row) {
    float* sums[8];  // of the row: two in each of four lanes
    for (int column = 0; column < 8; ++column)
      sums[column] = static_cast<MultiplyArg*>(args[row % 8 * 4 + column / 2])->c + row / 8 * 2 + column % 2;
    for (int k = 0; k < k_size; k += at_once) {
      double sum[8];
      for (int column = 0; column < 8; ++column) sum[column] = double{*sums[column]};
      for (int i = k; i < k + at_once; ++i)
        for (int column = 0; column < 8; ++column) sum[column] += a[row][i] * b[i][column];
      for (int column = 0; column < 8; ++column) *sums[column] = cut_off(sum[column]);
    }
  }
}

}  // namespace

unsigned lane() { return this_worker()->thread().lane; }

uint64_t shuffle(const char* name, unsigned mask, uint64_t bits, unsigned place, int width, Site site) {
  Worker& w = *this_worker();
  const unsigned size = static_cast<unsigned>(width);
  if (width < 1 || width > 32 || (size & (size - 1))) {
    w.fail(cudaErrorLaunchFailure, site, name, ": width must be a power of two up to 32, got ", width);
  }
  Exchange arg{bits, place < size ? (lane() & -size) + place : lane(), 0};
  w.collective(name, mask, &apply_shuffle, &arg, site);
  return arg.result;
}

void load_matrices(int count, bool transposed, const void* row, unsigned* out, Site site) {
  Worker& w = *this_worker();
  LoadArg arg{count, transposed, {}, out};
  if (w.thread().lane < static_cast<unsigned>(8 * count)) {
    if (!w.shared.holds(row))
      w.fail(cudaErrorIllegalAddress, site, "ldmatrix: a row that is not in shared memory");
    check_access(row, 16, Access::load, site);
    tsan::read(row, 16);
    std::memcpy(arg.row, row, 16);
  }
  w.collective("ldmatrix", kAll, &apply_load, &arg, site);
}

void multiply_matrices(Matrix kind, const unsigned* a, const unsigned* b, float* c, Site site) {
  Worker& w = *this_worker();
  if (arch() < 80 && kind != Matrix::f16_k8) {
    w.fail(cudaErrorNotSupported, site, "mma.sync: this shape needs sm_80, the card is sm_", arch());
  }
  MultiplyArg arg{kind, a, b, c};
  w.collective("mma.sync", kAll, &apply_multiply, &arg, site);
}

}  // namespace emu

void __syncwarp(unsigned mask, emu::Site site) {
  char here;
  emu::this_worker()->collective("__syncwarp", mask, nullptr, &here, site);
}

unsigned __ballot_sync(unsigned mask, int predicate, emu::Site site) {
  emu::Vote arg{predicate != 0, 0};
  emu::this_worker()->collective("__ballot_sync", mask, &emu::apply_ballot, &arg, site);
  return arg.result;
}
