// One kernel for each wrapper whose instruction matters; scripts/check_nvcc.py looks for it in the PTX that nvcc makes
// of this file. Not built for tests to run.
#include "cuda/ptx.cuh"
#include "cuda/vec.cuh"

using namespace fastcnn::cuda;

extern "C" __global__ void copy_async_16(const float* x, int valid) {
  FC_SHARED(float, s, [4]);
  ptx::copy_async<16>(s, x, valid);
  ptx::copy_commit();
  ptx::copy_wait<1>();
}

extern "C" __global__ void copy_async_4(const float* x, float* y) {
  FC_SHARED(float, s, [64]);
  ptx::copy_async<4>(s + threadIdx.x, x);
  ptx::copy_commit();
  ptx::copy_wait<0>();
  __syncthreads();
  y[threadIdx.x] = s[63 - threadIdx.x];
}

extern "C" __global__ void vector_16(const Vec<float, 4>* x, Vec<float, 4>* y) {
  Vec<float, 4> v = load(x + threadIdx.x);
  v.at[1] += 1;
  store(y + threadIdx.x, v);
}

extern "C" __global__ void vector_of_halves(const Vec<__half, 8>* x, Vec<__half, 8>* y) {
  Vec<__half, 8> v = load(x + threadIdx.x);
  FC_UNROLL
  for (int i = 0; i < 8; ++i) v.at[i] = Narrow<__half>::of(widen(v.at[i]) * 2);
  store(y + threadIdx.x, v);
}

extern "C" __global__ void shared_vector(float* y) {
  FC_SHARED(float, s, [256]);
  store(reinterpret_cast<Vec<float, 4>*>(s) + threadIdx.x, Vec<float, 4>{{1, 2, 3, 4}});
  __syncthreads();
  y[threadIdx.x] = load(s + 255 - threadIdx.x);
}

extern "C" __global__ void matrix_loads(unsigned* y) {
  FC_SHARED(unsigned, s, [256]);
  unsigned a[4], b[2], c[1];
  s[threadIdx.x] = threadIdx.x;
  __syncthreads();
  ptx::load_matrices<4, false>(a, s + threadIdx.x * 4);
  ptx::load_matrices<2, true>(b, s + threadIdx.x * 4);
  ptx::load_matrices<1, false>(c, s + threadIdx.x * 4);
  y[threadIdx.x] = a[0] + a[3] * b[0] + b[1] * c[0];
}

extern "C" __global__ void multiply(const unsigned* x, float* y) {
  float c[4] = {};
  const unsigned a[4] = {x[0], x[1], x[2], x[3]}, b[2] = {x[4], x[5]}, a2[2] = {x[0], x[1]}, b1[1] = {x[4]};
  ptx::mma_bf16(c, a, b);
  ptx::mma_f16(c, a, b);
  ptx::mma_tf32(c, a, b);
  ptx::mma_f16_k8(c, a2, b1);
  y[threadIdx.x] = c[0] + c[1] + c[2] + c[3];
}
