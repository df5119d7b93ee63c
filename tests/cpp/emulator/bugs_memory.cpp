// Planted bugs of bounds, alignment, initialisation, of who may touch which memory and when.
#include "bugs.h"

namespace bugs {
namespace {

FC_KERNEL uninitialised(float* out) {
  FC_SHARED(float, sums, [64]);
  sums[threadIdx.x] += 1;
  out[threadIdx.x] = sums[threadIdx.x];
}

// ---- bounds: kernels that touch x[i + shift] ----
FC_DEVICE int at(int shift) { return static_cast<int>(threadIdx.x) + shift; }
FC_KERNEL raw_read(float* out, const float* x, int shift) { out[threadIdx.x] = x[at(shift)] * 0; }
FC_KERNEL raw_write(float* out, float* x, int shift) {
  x[at(shift)] = 1;
  out[threadIdx.x] = 0;
}
FC_KERNEL checked_read(float* out, const float* x, int shift) { out[threadIdx.x] = load(x + at(shift)) * 0; }
FC_KERNEL checked_write(float* out, float* x, int shift) {
  store(x + at(shift), 1.0f);
  out[threadIdx.x] = 0;
}
std::vector<float> past_the_end(void (*kernel)(float*, float*, int), int shift = 1) {
  const Device<float> x(constant(64, 0));
  return one_block(kernel, 64, x.p, shift);
}
std::vector<float> read_past_the_end(void (*kernel)(float*, const float*, int), int shift = 1) {
  const Device<float> x(constant(64, 0));
  return one_block(kernel, 64, x.p, shift);
}
std::vector<float> after_free(void (*kernel)(float*, const float*, int)) {
  float* x;
  {
    const Device<float> gone(constant(5000, 0));  // a size that nothing else asks for
    x = gone.p;
  }
  return one_block(kernel, 64, x, 0);
}

FC_KERNEL shared_index(float* out, int shift) {
  FC_SHARED(float, s, [64]);
  FC_SHARED(float, other, [64]);
  other[threadIdx.x] = 0;
  s[at(shift)] = 1;
  out[threadIdx.x] = 0;
}
FC_KERNEL shared_pointer(float* out, int shift) {
  FC_SHARED(float, s, [64]);
  float* p = &s[0];
  p[at(shift)] = 1;
  out[threadIdx.x] = 0;
}
FC_KERNEL shared_store(float* out, int shift) {
  FC_SHARED(float, s, [64]);
  store(&s[0] + at(shift), 1.0f);
  out[threadIdx.x] = 0;
}
FC_KERNEL dynamic_pointer(float* out, int shift) {
  dynamic_smem<float>()[at(shift)] = 1;
  out[threadIdx.x] = 0;
}
std::vector<float> dynamic(int shift) {
  const Device<float> out(constant(64, 0));
  launch("bug", dynamic_pointer, {dim3(1), dim3(64), nullptr, 256}, out.p, shift);
  return out.host();
}
FC_KERNEL too_much_shared(float* out) {
  FC_SHARED(float, a, [8192]);
  FC_SHARED(float, b, [8192]);
  out[threadIdx.x] = a[0] + b[0];
}

// ---- alignment ----
FC_KERNEL raw_vector(float* out, const float* x, int shift) {
  const uint4 v = *reinterpret_cast<const uint4*>(x + threadIdx.x * 4 + shift);
  out[threadIdx.x] = static_cast<float>(v.x * 0);
}
FC_KERNEL checked_vector(float* out, const float* x, int shift) {
  out[threadIdx.x] = load(reinterpret_cast<const Vec<float, 4>*>(x + threadIdx.x * 4 + shift)).at[0] * 0;
}
FC_KERNEL misaligned_copy(float* out, const float* x) {
  FC_SHARED(float, s, [256]);
  ptx::copy_async<16>(&s[threadIdx.x * 4], x + threadIdx.x * 4 + 1);
  ptx::copy_commit();
  ptx::copy_wait<0>();
  out[threadIdx.x] = 0;
}

// ---- streams ----
FC_KERNEL wait_and_write(float* out) { out[threadIdx.x] = 1; }
std::vector<float> unsynchronised(bool wait) {
  emu::set_late_streams(true);
  cudaStream_t stream;
  cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
  float *out, *host;
  cudaMalloc(&out, 64 * 4);
  cudaMallocHost(reinterpret_cast<void**>(&host), 64 * 4);
  launch("write", wait_and_write, {dim3(1), dim3(64), stream}, out);
  cudaMemcpyAsync(host, out, 64 * 4, cudaMemcpyDeviceToHost, stream);
  if (wait) cudaStreamSynchronize(stream);
  const std::vector<float> got(host, host + 64);
  cudaStreamDestroy(stream);
  cudaFreeHost(host);
  cudaFree(out);
  emu::set_late_streams(false);
  return got;
}
std::vector<float> other_stream(bool wait) {
  emu::set_late_streams(true);
  cudaStream_t a, b;
  cudaEvent_t written;
  cudaStreamCreateWithFlags(&a, cudaStreamNonBlocking);
  cudaStreamCreateWithFlags(&b, cudaStreamNonBlocking);
  cudaEventCreateWithFlags(&written, cudaEventDisableTiming);
  std::vector<float> got(64);
  {
    const Device<float> out(64);
    launch("write", wait_and_write, {dim3(1), dim3(64), a}, out.p);
    cudaEventRecord(written, a);
    if (wait) cudaStreamWaitEvent(b, written);
    cudaMemcpyAsync(got.data(), out.p, 64 * 4, cudaMemcpyDeviceToHost, b);
    cudaStreamSynchronize(b);
  }
  cudaEventDestroy(written);
  cudaStreamDestroy(a);
  cudaStreamDestroy(b);
  emu::set_late_streams(false);
  return got;
}

FC_KERNEL overflow(float* out, int stride) {
  const int offset = static_cast<int>(threadIdx.x) * stride;
  out[threadIdx.x] = offset == 12345 ? 1.0f : 0.0f;
}

}  // namespace

std::vector<Bug> memory_bugs() {
  const auto zero = constant(64, 0);
  return {
      {"uninitialised shared memory", "NaN", "NaN", "wrong", "", [] { return one_block(uninitialised, 64); },
       constant(64, 1)},
      {"global read past the end", "-", "asan", "-", "", [] { return read_past_the_end(raw_read); }, {}},
      {"global write past the end", "error", "asan", "-",
       "0 bytes past the end of an allocation of 256 bytes", [] { return past_the_end(raw_write); }, zero},
      {"global write before the beginning", "error", "asan", "-",
       "bytes before the beginning of an allocation", [] { return past_the_end(raw_write, -1); }, zero},
      {"load() past the end", "error", "error", "error", "at byte 256 of an allocation of 256 bytes",
       [] { return read_past_the_end(checked_read); }, zero},
      {"store() past the end", "error", "error", "error", "global store of 4 bytes at byte 256",
       [] { return past_the_end(checked_write); }, zero},
      {"read after cudaFree", "NaN", "asan", "tsan", "", [] { return after_free(raw_read); }, zero},
      {"load() after cudaFree", "error", "error", "error", "outside every allocation",
       [] { return after_free(checked_read); }, zero},
      {"static shared memory, index", "error", "ubsan", "-", "0 bytes past the end of s, which has 256 bytes",
       [] { return one_block(shared_index, 64, 1); }, zero},
      {"static shared memory, pointer", "error", "asan", "-",
       "0 bytes past the end of s, which has 256 bytes", [] { return one_block(shared_pointer, 64, 1); },
       zero},
      {"dynamic shared memory", "error", "asan", "-",
       "past the end of dynamic shared memory, which has 256 bytes", [] { return dynamic(1); }, zero},
      {"store() past shared memory", "error", "error", "error", "shared store of 4 bytes at byte 256 of s",
       [] { return one_block(shared_store, 64, 1); }, zero},
      {"too much shared memory", "error", "error", "error",
       "does not fit, got 65536 bytes in all, expected at most 49152",
       [] { return one_block(too_much_shared, 64); }, zero},
      {"misaligned uint4", "-", "ubsan", "-", "",
       [] {
         const Device<float> x(constant(257, 0));
         return one_block(raw_vector, 64, x.p, 1);
       },
       zero},
      {"misaligned load()", "error", "error", "error",
       "misaligned load of 16 bytes, got an address 4 bytes past",
       [] {
         const Device<float> x(constant(257, 0));
         return one_block(checked_vector, 64, x.p, 1);
       },
       zero},
      {"misaligned cp.async", "error", "error", "error", "misaligned load of 16 bytes",
       [] {
         const Device<float> x(constant(257, 0));
         return one_block(misaligned_copy, 64, x.p);
       },
       zero},
      {"integer overflow of an index", "-", "ubsan", "-", "", [] { return one_block(overflow, 64, 1 << 26); },
       zero},
      {"host pointer given to a kernel", "error", "error", "error", "outside every allocation of the device",
       [] {
         const std::vector<float> x(64);
         return one_block(checked_read, 64, x.data(), 0);
       },
       zero},
      {"host reads device memory", "NaN", "asan", "NaN", "",
       [] {
         const Device<float> x(64);
         return std::vector<float>(x.p, x.p + 64);
       },
       zero},
      {"wrong direction of cudaMemcpy", "error", "error", "error",
       "a host address where the device's is expected",
       [] {
         const std::vector<float> x(64);
         const Device<float> y(64);
         check(cudaMemcpy(const_cast<float*>(x.data()), y.p, 256, cudaMemcpyHostToDevice), "copy");
         return x;
       },
       zero},
      {"stream not waited for", "NaN", "NaN", "NaN", "", [] { return unsynchronised(false); },
       constant(64, 1)},
      {"event not waited for", "NaN", "NaN", "NaN", "", [] { return other_stream(false); }, constant(64, 1)},
      {"legal: stream waited for", "-", "-", "-", "", [] { return unsynchronised(true); }, constant(64, 1)},
      {"legal: event waited for", "-", "-", "-", "", [] { return other_stream(true); }, constant(64, 1)},
  };
}

}  // namespace bugs
