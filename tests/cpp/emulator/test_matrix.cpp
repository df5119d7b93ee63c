// ldmatrix and mma.sync: the layouts against plain loops, the cards that have them, and bank conflicts of ldmatrix.
#include <cmath>

#include "cuda/ptx.cuh"
#include "cuda/vec.cuh"
#include "emulator/counters.h"
#include "tools.h"

using namespace fastcnn::cuda;
using test::Device;

namespace {

constexpr int kPitch = 24;  // of rows of 16 elements; 48 bytes: rows of a matrix in different banks

// c[16][8] += a[16][16] b[16][8], both row by row; one warp.
template <class T>
FC_KERNEL product_kernel(const T* a, const T* b, float* c, bool by_halves) {
  FC_SHARED(T, sa, [16 * kPitch]);
  FC_SHARED(T, sb, [16 * kPitch]);
  const int lane = static_cast<int>(threadIdx.x);
  for (int i = lane; i < 256; i += 32) sa[i / 16 * kPitch + i % 16] = a[i];
  for (int i = lane; i < 128; i += 32) sb[i / 8 * kPitch + i % 8] = b[i];
  __syncwarp();
  unsigned fa[4], fb[2];
  ptx::load_matrices<4, false>(fa, sa + lane % 16 * kPitch + lane / 16 * 8);
  ptx::load_matrices<2, true>(fb, sb + lane % 16 * kPitch);
  float* corner = c + lane / 4 * 8 + lane % 4 * 2;
  float d[4] = {corner[0], corner[1], corner[64], corner[65]};
  if (by_halves) {
    const unsigned low[2] = {fa[0], fa[1]}, high[2] = {fa[2], fa[3]}, first[1] = {fb[0]}, second[1] = {fb[1]};
    ptx::mma_f16_k8(d, low, first);
    ptx::mma_f16_k8(d, high, second);
  } else if (sizeof(T) == 2 && static_cast<float>(T(1.0009765625f)) == 1.0f) {  // bfloat16 has no such number
    ptx::mma_bf16(d, fa, fb);
  } else {
    ptx::mma_f16(d, fa, fb);
  }
  corner[0] = d[0], corner[1] = d[1], corner[64] = d[2], corner[65] = d[3];
}

// The same for tf32 with 8 for K, fragments filled as the PTX ISA says.
FC_KERNEL tf32_kernel(const float* a, const float* b, float* c) {
  const int group = static_cast<int>(threadIdx.x) / 4, t = static_cast<int>(threadIdx.x) % 4;
  auto bits = [](float v) { return __float_as_uint(v); };
  const unsigned fa[4] = {bits(a[group * 8 + t]), bits(a[(group + 8) * 8 + t]), bits(a[group * 8 + t + 4]),
                          bits(a[(group + 8) * 8 + t + 4])};
  const unsigned fb[2] = {bits(b[t * 8 + group]), bits(b[(t + 4) * 8 + group])};
  float d[4] = {};
  ptx::mma_tf32(d, fa, fb);
  for (int i = 0; i < 4; ++i) c[(group + i / 2 * 8) * 8 + t * 2 + i % 2] = d[i];
}

template <class T>
std::vector<T> numbers(size_t n, unsigned seed) {
  std::vector<T> v(n);
  for (size_t i = 0; i < n; ++i)
    v[i] = T(static_cast<float>((i * 37 + seed) * 2654435761u >> 20 & 63) / 8.0f - 4.0f);
  return v;
}

template <class T>
void check_product(int k_size, const std::vector<T>& a, const std::vector<T>& b, const std::vector<float>& c0,
                   const std::vector<float>& c) {
  for (int i = 0; i < 16; ++i) {
    for (int j = 0; j < 8; ++j) {
      double want = c0[static_cast<size_t>(i * 8 + j)];
      for (int k = 0; k < k_size; ++k) {
        want += static_cast<double>(static_cast<float>(a[static_cast<size_t>(i * k_size + k)])) *
                static_cast<double>(static_cast<float>(b[static_cast<size_t>(k * 8 + j)]));
      }
      CHECK(std::abs(c[static_cast<size_t>(i * 8 + j)] - want) <= 1e-4);
    }
  }
}

template <class T>
void test_product(bool by_halves) {
  const auto a = numbers<T>(256, 1), b = numbers<T>(128, 2);
  const auto c = numbers<float>(128, 3);
  const Device<T> da(a), db(b);
  const Device<float> dc(c);
  launch("product", product_kernel<T>, {dim3(1), dim3(32)}, da.p, db.p, dc.p, by_halves);
  check_product(16, a, b, c, dc.host());
}

void test_tf32() {
  auto a = numbers<float>(128, 4), b = numbers<float>(64, 5);
  const std::vector<float> exact = a;
  for (float& f : a) f = __uint_as_float(__float_as_uint(f) | 0x1fffu);  // bits that are not looked at
  const Device<float> da(a), db(b), dc(128);
  launch("tf32", tf32_kernel, {dim3(1), dim3(32)}, da.p, db.p, dc.p);
  check_product(8, exact, b, std::vector<float>(128), dc.host());
}

/// 1 + 3/4 of its last bit, in each row: cut off, not rounded; and away from no zero.
void test_sums_are_cut_off() {
  std::vector<float> a(128), b(64);
  for (size_t row = 0; row < 16; ++row) {
    a[row * 8] = row % 2 ? -1.0f : 1.0f;
    a[row * 8 + 1] = a[row * 8] * 0.75f;
  }
  for (size_t column = 0; column < 8; ++column) {
    b[column] = 1;
    b[8 + column] = 1.1920928955078125e-7f;  // 2^-23
  }
  const Device<float> da(a), db(b), dc(128);
  launch("tf32", tf32_kernel, {dim3(1), dim3(32)}, da.p, db.p, dc.p);
  const std::vector<float> c = dc.host();
  for (size_t i = 0; i < c.size(); ++i) CHECK(c[i] == (i / 8 % 2 ? -1.0f : 1.0f));
}

void test_cards() {
  emu::set_card("t4");
  test_product<__half>(true);
  test_product<__half>(false);  // two instructions in place of one
  std::string text;
  try {
    test_product<__nv_bfloat16>(false);
  } catch (const fastcnn::DeviceError& e) {
    text = e.what();
  }
  CHECK(text.find("mma.sync: this shape needs sm_80, the card is sm_75") != std::string::npos);
  CHECK(emu::error_text().empty());  // who was told may go on
  emu::set_card("a100");
}

// Rows `pitch` bytes apart.
FC_KERNEL row_kernel(unsigned* out, int pitch) {
  FC_SHARED(unsigned char, s, [32 * 144]);
  unsigned f[4];
  ptx::load_matrices<4, false>(f, s + static_cast<int>(threadIdx.x) * pitch);
  out[threadIdx.x] = f[0];
}

void test_bank_conflicts() {
  const struct {
    int pitch;
    uint64_t wavefronts;  // of four matrices
  } rows[] = {{128, 32}, {64, 16}, {32, 8}, {16, 4}, {144, 4}, {80, 4}, {96, 8}};
  const Device<unsigned> out(32);
  for (const auto& r : rows) {
    emu::start_counting();
    launch("rows", row_kernel, {dim3(1), dim3(32)}, out.p, r.pitch);
    const emu::Traffic t = emu::total(emu::stop_counting(), true);
    CHECK(t.requests == 1 && t.ideal == 4 && t.units == r.wavefronts);
  }
}

}  // namespace

int main() {
  test::in_all_orders([] {
    test_product<__half>(false);
    test_product<__half>(true);
    test_product<__nv_bfloat16>(false);
    test_tf32();
    test_sums_are_cut_off();
  });
  test_cards();
  if (!test::kThreadSanitizer) test_bank_conflicts();
  return test::report("emulated matrices");
}
