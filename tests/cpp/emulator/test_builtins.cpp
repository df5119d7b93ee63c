// What kernels call: indices, barriers, warp collectives, atomics, half types, asynchronous copies. In every order of
// threads and, where it matters, on every card.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cmath>
#include <cstring>

#include "cuda/ptx.cuh"
#include "cuda/reduce.cuh"
#include "tools.h"

using namespace fastcnn::cuda;
using test::Device;

namespace {

FC_KERNEL index_kernel(unsigned* out) {
  const unsigned block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
  const unsigned thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
  atomicAdd(out + block * blockDim.x * blockDim.y * blockDim.z + thread, block * 1000 + thread + 1);
}

void test_indices() {
  const dim3 grid(3, 5, 2), block(7, 3, 4);
  const Device<unsigned> out(std::vector<unsigned>(30 * 84));
  launch("index", index_kernel, {grid, block}, out.p);
  const auto got = out.host();
  bool right = true;
  for (unsigned b = 0; b < 30; ++b) {
    for (unsigned t = 0; t < 84; ++t) right = right && got[b * 84 + t] == b * 1000 + t + 1;
  }
  CHECK(right);
}

// Reversal through shared memory, several rounds; dynamic and static memory.
FC_KERNEL reverse_kernel(int* out, int rounds) {
  FC_SHARED(int, a, [256]);
  int* b = dynamic_smem<int>();
  const int i = static_cast<int>(threadIdx.x), n = static_cast<int>(blockDim.x);
  a[i] = i * 3 + static_cast<int>(blockIdx.x);
  for (int r = 0; r < rounds; ++r) {
    __syncthreads();
    b[i] = a[n - 1 - i];
    __syncthreads();
    a[i] = b[i] + 1;
  }
  out[blockIdx.x * blockDim.x + threadIdx.x] = a[i];
}

void test_barriers() {
  Device<int> out(256 * 40);
  launch("reverse", reverse_kernel, {dim3(40), dim3(256), nullptr, 1024}, out.p, 3);
  const auto got = out.host();
  bool right = true;
  for (int b = 0; b < 40; ++b) {
    for (int i = 0; i < 256; ++i) right = right && got[b * 256 + i] == (255 - i) * 3 + b + 3;
  }
  CHECK(right);
}

FC_KERNEL turns_kernel(int* turns, int* out) {
  out[blockIdx.x * blockDim.x + threadIdx.x] = atomicAdd(turns + blockIdx.x, 1);
  __syncthreads();
  out[blockIdx.x * blockDim.x + threadIdx.x] += 1000 * atomicAdd(turns + blockIdx.x, 1);
}

/// A seed gives one order of a block's threads, whichever worker has the block.
void test_seeds() {
  std::vector<std::vector<int>> got;
  for (uint64_t seed : {1, 1, 1, 2}) {
    const Device<int> turns(std::vector<int>(100)), out(100 * 64);
    emu::set_workers(1 + static_cast<int>(got.size()));
    emu::set_order(emu::Order::shuffle, seed);
    launch("turns", turns_kernel, {dim3(100), dim3(64)}, turns.p, out.p);
    got.push_back(out.host());
  }
  CHECK(got[0] == got[1] && got[0] == got[2] && got[0] != got[3]);
}

FC_KERNEL early_exit_kernel(int* out) {
  FC_SHARED(int, a, [96]);
  const int i = static_cast<int>(threadIdx.x);
  if (i >= 90) return;  // who has returned is not waited for
  a[i] = i;
  __syncthreads();
  out[i] = a[89 - i];
}

FC_KERNEL shuffle_kernel(int* out) {
  const int lane = static_cast<int>(threadIdx.x) % 32, v = lane * 10;
  int* o = out + threadIdx.x * 12;
  o[0] = __shfl_sync(kFullMask, v, 5);
  o[1] = __shfl_sync(kFullMask, v, lane + 3, 8);
  o[2] = __shfl_up_sync(kFullMask, v, 4u);
  o[3] = __shfl_down_sync(kFullMask, v, 4u, 16);
  o[4] = __shfl_xor_sync(kFullMask, v, 9);
  o[5] = static_cast<int>(__ballot_sync(kFullMask, lane % 4 == 1));
  o[8] = -1;
  const unsigned half = lane < 16 ? 0x0000ffffu : 0xffff0000u;  // two meetings at once on one line
  o[8] = __shfl_sync(half, v, lane < 16 ? 2 : 18);
  o[9] = static_cast<int>(__shfl_sync(kFullMask, v + 7.5, 31));
  __syncwarp();
}

void test_votes_and_shuffles() {
  const Device<int> votes(std::vector<int>(96)), out(64 * 12);
  launch("early exit", early_exit_kernel, {dim3(1), dim3(96)}, votes.p);
  const auto v = votes.host();
  CHECK(v[0] == 89 && v[89] == 0 && v[90] == 0);

  launch("shuffles", shuffle_kernel, {dim3(1), dim3(64)}, out.p);
  const auto got = out.host();
  for (int t = 0; t < 64; ++t) {
    const int lane = t % 32;
    const int* o = &got[static_cast<size_t>(t) * 12];
    CHECK(o[0] == 50);
    CHECK(o[1] == (lane / 8 * 8 + (lane + 3) % 8) * 10);
    CHECK(o[2] == (lane < 4 ? lane : lane - 4) * 10);
    CHECK(o[3] == (lane % 16 < 12 ? lane + 4 : lane) * 10);
    CHECK(o[4] == (lane ^ 9) * 10);
    CHECK(static_cast<unsigned>(o[5]) == 0x22222222u);
    CHECK(o[8] == (lane < 16 ? 20 : 180));
    CHECK(o[9] == 317);
  }
}

FC_KERNEL atomics_kernel(int* i, unsigned long long* u, float* f, double* d) {
  const int n = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  atomicAdd(i, 1);
  atomicMax(i + 1, n);
  atomicAdd(u, 3ull);
  atomicAdd(f, 0.5f);
  atomicAdd(d, 0.25);
}

void test_atomics() {
  Device<int> i(std::vector<int>(2));
  Device<unsigned long long> u(std::vector<unsigned long long>(1));
  Device<float> f(std::vector<float>(1));
  Device<double> d(std::vector<double>(1));
  launch("atomics", atomics_kernel, {dim3(64), dim3(128)}, i.p, u.p, f.p, d.p);
  const auto got = i.host();
  CHECK(got[0] == 8192 && got[1] == 8191);
  CHECK(u.host()[0] == 3 * 8192 && f.host()[0] == 4096.0f && d.host()[0] == 2048.0);
}

// A ring of three stages filled by cp.async; the last copy is shorter and padded with zeros.
FC_KERNEL ring_kernel(const float* x, float* y, int stages) {
  FC_SHARED(float, ring, [3][64]);
  const int i = static_cast<int>(threadIdx.x);
  auto fetch = [&](int s) {
    if (s < stages && i < 16) {
      ptx::copy_async<16>(&ring[s % 3][i * 4], x + s * 64 + i * 4, s == stages - 1 && i == 15 ? 12 : 16);
    }
    ptx::copy_commit();
  };
  fetch(0);
  fetch(1);
  for (int s = 0; s < stages; ++s) {
    ptx::copy_wait<1>();
    __syncthreads();
    fetch(s + 2);
    y[s * 64 + i] = ring[s % 3][i] * 2;
  }
}

void test_async_copies() {
  std::vector<float> x(64 * 7);
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i);
  Device<float> in(x), out(x.size());
  for (const char* card : {"t4", "a100", "h200"}) {
    CHECK(emu::set_card(card));
    launch("ring", ring_kernel, {dim3(1), dim3(64)}, in.p, out.p, 7);
    const auto y = out.host();
    bool right = true;
    for (size_t i = 0; i < x.size(); ++i) right = right && y[i] == (i < x.size() - 1 ? 2 * x[i] : 0.0f);
    CHECK(right);
  }
  emu::set_card("a100");
}

template <class Half>
Half of_bits(uint32_t bits) {
  Half h;
  h.x = static_cast<uint16_t>(bits);
  return h;
}

void test_halves() {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const float h = __half2float(of_bits<__half>(bits));
    const float b = __bfloat162float(of_bits<__nv_bfloat16>(bits));
    const bool back = __float2half_rn(h).x == bits, back_b = __float2bfloat16_rn(b).x == bits;
    if (!back && !std::isnan(h)) CHECK(back);
    if (!back_b && !std::isnan(b)) CHECK(back_b);
  }
  const struct {
    float f;
    unsigned half, bfloat;
  } rows[] = {{1.0f, 0x3c00, 0x3f80},           {-2.5f, 0xc100, 0xc020},          {65504.0f, 0x7bff, 0x4780},
              {65520.0f, 0x7c00, 0x4780},       {5.9604645e-8f, 1, 0x3380},       {2.9802322e-8f, 0, 0x3300},
              {1.00048828125f, 0x3c00, 0x3f80}, {1.00146484375f, 0x3c02, 0x3f80}, {-0.0f, 0x8000, 0x8000},
              {HUGE_VALF, 0x7c00, 0x7f80},      {3.0e-5f, 0x01f7, 0x37fc}};
  for (const auto& r : rows) {
    CHECK(__float2half_rn(r.f).x == r.half);
    CHECK(__float2bfloat16_rn(r.f).x == r.bfloat);
  }
  CHECK(std::isnan(__half2float(__float2half_rn(NAN))) &&
        std::isnan(__bfloat162float(__float2bfloat16_rn(NAN))));
  CHECK(sizeof(__half) == 2 && alignof(uint4) == 16 && alignof(uint2) == 8);
}

FC_KERNEL block_sum_kernel(const int* x, int* y) {
  int v = x[blockIdx.x * 256 + threadIdx.x];
  v = block_reduce<Sum, 256>(v);
  const int twice = block_reduce<Sum, 256>(static_cast<int>(threadIdx.x));
  if (threadIdx.x == 0) y[blockIdx.x] = v + twice;
}

void test_reduce() {
  std::vector<int> x(256 * 9);
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<int>(i % 97) - 40;
  Device<int> in(x), out(9);
  launch("block_sum", block_sum_kernel, {dim3(9), dim3(256)}, in.p, out.p);
  const auto got = out.host();
  for (size_t b = 0; b < 9; ++b) {
    int want = 255 * 128;
    for (size_t i = 0; i < 256; ++i) want += x[b * 256 + i];
    CHECK(got[b] == want);
  }
}

}  // namespace

int main() {
  for (int workers : {1, 3}) {
    emu::set_workers(workers);
    test::in_all_orders([] {
      test_indices();
      test_barriers();
      test_votes_and_shuffles();
      test_atomics();
      test_async_copies();
      test_reduce();
    });
  }
  test_seeds();
  test_halves();
  return test::report("emulated builtins");
}
