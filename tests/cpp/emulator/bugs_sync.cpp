// Planted bugs of barriers, warps, races and asynchronous copies, and legal kernels that look like them.
#include "bugs.h"

namespace bugs {
namespace {

// ---- barriers ----
FC_KERNEL no_barrier(float* out, int reads_first) {
  FC_SHARED(float, s, [128]);
  const int i = static_cast<int>(threadIdx.x);
  s[i] = static_cast<float>(i);
  if (!reads_first) __syncthreads();
  out[i] = s[127 - i];
  if (reads_first) return;
  s[i] = -1;  // may come before the read of another thread
}
FC_KERNEL different_barriers(float* out) {
  if (threadIdx.x < 32) {
    __syncthreads();
  } else {
    __syncthreads();
  }
  out[threadIdx.x] = 1;
}
FC_KERNEL barrier_in_branch(float* out) {
  if (threadIdx.x == 0) __syncthreads();
  out[threadIdx.x] = 1;
  __syncthreads();
}

// ---- warps ----
FC_KERNEL shuffle_in_branch(float* out, unsigned mask) {
  float v = static_cast<float>(threadIdx.x);
  if (threadIdx.x < 16) v = __shfl_xor_sync(mask, v, 1);
  __syncthreads();
  out[threadIdx.x] = v;
}
FC_KERNEL shuffle_from_absent_lane(float* out) {
  float v = static_cast<float>(threadIdx.x);
  if (threadIdx.x < 16) v = __shfl_sync(0x0000ffffu, v, 20);
  out[threadIdx.x] = v;
}
FC_KERNEL lanes_disagree(float* out) {
  float v = static_cast<float>(threadIdx.x);
  if (threadIdx.x % 2) {
    v = __shfl_xor_sync(kFullMask, v, 2);
  } else {
    v += static_cast<float>(__ballot_sync(kFullMask, 1));
  }
  out[threadIdx.x] = v;
}
FC_KERNEL lockstep(float* out) {
  FC_SHARED(float, s, [32]);
  const unsigned i = threadIdx.x;
  s[i] = static_cast<float>(i);
  out[i] = s[(i + 1) % 32];  // "the lanes of a warp run together"
}

// ---- races that the emulated order hides ----
FC_KERNEL same_cells(float* out, float* cells) {
  cells[threadIdx.x] = static_cast<float>(blockIdx.x);
  out[threadIdx.x] = 0;
}
FC_KERNEL plain_add(float* out, int* sum) {
  *sum += 1;
  out[threadIdx.x] = 0;
}

// The last block to come adds up what all blocks have left; fences on both sides of the counter order that.
FC_KERNEL last_block(float* out, float* partial, int* arrived, bool fenced) {
  FC_SHARED(int, is_last, );
  if (threadIdx.x == 0) {
    partial[blockIdx.x] = 1;
    if (fenced) __threadfence();
    is_last = atomicAdd(arrived, 1) == static_cast<int>(gridDim.x) - 1;
    if (fenced) __threadfence();
  }
  __syncthreads();
  float sum = 0;
  for (unsigned b = 0; is_last && b < gridDim.x; ++b) sum += partial[b];
  if (is_last) out[threadIdx.x] = sum;
}
std::vector<float> by_last_block(bool fenced) {
  const Device<float> out(constant(32, 0)), partial(200);
  const Device<int> arrived(std::vector<int>(1));
  launch("bug", last_block, {dim3(200), dim3(32)}, out.p, partial.p, arrived.p, fenced);
  return out.host();
}

// ---- cp.async ----
FC_KERNEL async_copy(float* out, const float* x, int mistake) {
  FC_SHARED(float, s, [2][64]);
  const int i = static_cast<int>(threadIdx.x);
  for (int stage = 0; stage < 2; ++stage) {
    if (i < 16) ptx::copy_async<16>(&s[stage][i * 4], x + stage * 64 + i * 4);
    ptx::copy_commit();
  }
  if (mistake == 1) ptx::copy_wait<2>();
  if (mistake == 2) ptx::copy_wait<1>();
  if (mistake == 0 || mistake == 3) ptx::copy_wait<0>();
  if (mistake != 3) __syncthreads();
  out[i] = s[0][i] + s[1][63 - i];
}
std::vector<float> copy_with(int mistake) {
  const Device<float> x(constant(128, 0.5f));
  return one_block(async_copy, 64, x.p, mistake);
}

// ---- ldmatrix ----
FC_KERNEL matrix_load(float* out, int mistake) {
  FC_SHARED(uint4, s, [33]);
  const unsigned i = threadIdx.x;
  s[31 - i] = uint4{0, 0, 0, 0};
  if (mistake != 1) __syncwarp();
  unsigned f[4] = {};
  const char* row = reinterpret_cast<const char*>(s + i);
  if (mistake != 2 || i < 16) ptx::load_matrices<4, false>(f, row + (mistake == 3 ? 8 : 0));
  __syncthreads();
  out[i] = __uint_as_float(f[0] | f[3]);
}

// ---- legal ----
FC_KERNEL early_exit(float* out) {
  FC_SHARED(float, s, [64]);
  const unsigned i = threadIdx.x;
  if (i >= 40) return;
  s[i] = 1;
  __syncthreads();
  out[i] = s[39 - i] + __shfl_xor_sync(i < 32 ? kFullMask : 0xffu, 0.0f, 1);
}
FC_KERNEL with_syncwarp(float* out) {
  FC_SHARED(float, s, [64]);
  const unsigned i = threadIdx.x;
  for (int k = 0; k < 3; ++k) {
    s[i] = static_cast<float>(i);
    __syncwarp();
    out[i] = s[i ^ 1];
    __syncwarp();
  }
}

}  // namespace

std::vector<Bug> sync_bugs() {
  auto early = constant(64, 1);
  for (size_t i = 40; i < 64; ++i) early[i] = 0;
  auto swapped = counted(64);
  for (size_t i = 0; i < 64; i += 2) std::swap(swapped[i], swapped[i + 1]);
  auto half = counted(32);
  for (size_t i = 0; i < 16; i += 2) std::swap(half[i], half[i + 1]);
  const auto down = counted(128, true);
  return {
      {"missing __syncthreads", "NaN", "NaN", "tsan", "", [] { return one_block(no_barrier, 128, 1); }, down},
      {"no barrier before re-use", "wrong", "wrong", "tsan", "", [] { return one_block(no_barrier, 128, 0); },
       down},
      {"different barriers in branches", "error", "error", "error",
       "threads of one block wait at different barriers", [] { return one_block(different_barriers, 64); },
       constant(64, 1)},
      {"barrier in a branch", "error", "error", "error", "threads of one block wait at different barriers",
       [] { return one_block(barrier_in_branch, 64); }, constant(64, 1)},
      {"shuffle in a branch, full mask",
       "error",
       "error",
       "error",
       "16 wait in __shfl_xor_sync for lanes 0xffffffff",
       [] { return one_block(shuffle_in_branch, 32, kFullMask); },
       {}},
      {"shuffle mask without the caller",
       "error",
       "error",
       "error",
       "is not in its own mask, got 0xffff0000",
       [] { return one_block(shuffle_in_branch, 32, 0xffff0000u); },
       {}},
      {"shuffle mask names too many",
       "error",
       "error",
       "error",
       "deadlock",
       [] { return one_block(shuffle_in_branch, 32, 0x0001ffffu); },
       {}},
      {"shuffle from an absent lane", "NaN", "NaN", "NaN", "",
       [] { return one_block(shuffle_from_absent_lane, 32); }, counted(32)},
      {"lanes in different collectives", "error", "error", "error",
       "lanes of one warp meet in different operations", [] { return one_block(lanes_disagree, 32); },
       counted(32)},
      {"warp lockstep without __syncwarp",
       "NaN",
       "NaN",
       "tsan",
       "",
       [] { return one_block(lockstep, 32); },
       {}},
      {"two blocks write the same cells", "-", "-", "tsan", "",
       [] {
         const Device<float> out(constant(64, 0)), cells(64);
         launch("bug", same_cells, {dim3(2), dim3(64)}, out.p, cells.p);
         return out.host();
       },
       constant(64, 0)},
      {"+= instead of atomicAdd", "-", "-", "tsan", "",
       [] {
         const Device<int> sum(std::vector<int>(1));
         auto out = one_block(plain_add, 64, sum.p);
         out[0] = static_cast<float>(sum.host()[0] - 64);
         return out;
       },
       constant(64, 0)},
      {"last block adds up, no fences", "-", "-", "tsan", "", [] { return by_last_block(false); },
       constant(32, 200)},
      {"legal: last block adds up, fences", "-", "-", "-", "", [] { return by_last_block(true); },
       constant(32, 200)},
      {"cp.async never waited for", "NaN", "NaN", "NaN", "", [] { return copy_with(4); }, constant(64, 1)},
      {"cp.async: too many groups left", "NaN", "NaN", "NaN", "", [] { return copy_with(1); },
       constant(64, 1)},
      {"cp.async: one group left", "NaN", "NaN", "NaN", "", [] { return copy_with(2); }, constant(64, 1)},
      {"cp.async: no barrier after the wait", "NaN", "NaN", "tsan", "", [] { return copy_with(3); },
       constant(64, 1)},
      {"ldmatrix before the rows are written", "NaN", "NaN", "tsan", "",
       [] { return one_block(matrix_load, 32, 1); }, constant(32, 0)},
      {"ldmatrix in a branch", "error", "error", "error", "16 wait in ldmatrix for lanes 0xffffffff",
       [] { return one_block(matrix_load, 32, 2); }, constant(32, 0)},
      {"ldmatrix of a misaligned row", "error", "error", "error", "misaligned load of 16 bytes",
       [] { return one_block(matrix_load, 32, 3); }, constant(32, 0)},
      {"legal: exit before a barrier", "-", "-", "-", "", [] { return one_block(early_exit, 64); }, early},
      {"legal: __syncwarp", "-", "-", "-", "", [] { return one_block(with_syncwarp, 64); }, swapped},
      {"legal: half a warp shuffles", "-", "-", "-", "",
       [] { return one_block(shuffle_in_branch, 32, 0x0000ffffu); }, half},
      {"legal: cp.async, waited for", "-", "-", "-", "", [] { return copy_with(0); }, constant(64, 1)},
      {"legal: ldmatrix", "-", "-", "-", "", [] { return one_block(matrix_load, 32, 0); }, constant(32, 0)},
  };
}

}  // namespace bugs
