// The runtime API: cards, launches that must be refused, memory, streams and events (eager and late), sticky errors
// with file and line, counters of made-up access patterns.
#include <cstring>
#include <string>

#include "cuda/vec.cuh"
#include "emulator/counters.h"
#include "tools.h"

using namespace fastcnn::cuda;
using test::Device;

namespace {

bool says(const std::string& part) { return emu::error_text().find(part) != std::string::npos; }

void test_cards() {
  const struct {
    const char* name;
    int arch, multiprocessors, shared_kib;
  } rows[] = {{"t4", 75, 40, 64}, {"a100", 80, 108, 163}, {"h200", 90, 132, 227}};
  for (const auto& r : rows) {
    CHECK(emu::set_card(r.name));
    cudaDeviceProp p;
    CHECK(cudaGetDeviceProperties(&p, 0) == cudaSuccess);
    CHECK(p.major * 10 + p.minor == r.arch && p.multiProcessorCount == r.multiprocessors);
    CHECK(p.sharedMemPerBlockOptin == static_cast<size_t>(r.shared_kib) << 10);
  }
  CHECK(!emu::set_card("gtx"));
  CHECK(emu::set_card("a100", 1 << 20));
  cudaDeviceProp card;
  void *p, *q;
  CHECK(cudaMalloc(&p, 1000 << 10) == cudaSuccess);
  CHECK(cudaGetDeviceProperties(&card, 0) == cudaSuccess && card.totalGlobalMem == 1 << 20);
  CHECK(cudaMalloc(&q, 25 << 10) == cudaErrorMemoryAllocation && says("request for 25600 bytes"));
  CHECK(cudaGetLastError() == cudaErrorMemoryAllocation && cudaGetLastError() == cudaSuccess);
  CHECK(cudaFree(p) == cudaSuccess && cudaFree(p) == cudaErrorInvalidValue);
  cudaGetLastError();
  emu::set_card("a100");
  int n;
  CHECK(cudaGetDeviceCount(&n) == cudaSuccess && n == 1);
  CHECK(cudaSetDevice(1) == cudaErrorInvalidDevice && cudaGetLastError() == cudaErrorInvalidDevice);
}

FC_KERNEL add_kernel(float* x, float by) { x[blockIdx.x * blockDim.x + threadIdx.x] += by; }
FC_KERNEL dynamic_kernel(float* x, int n) {
  float* s = dynamic_smem<float>();
  for (int i = static_cast<int>(threadIdx.x); i < n; i += 32) s[i] = static_cast<float>(i);
  __syncwarp();
  x[threadIdx.x] = s[n - 1 - static_cast<int>(threadIdx.x)];
}

void test_refused_launches() {
  const Device<float> x(2048);
  auto refused = [&](dim3 grid, dim3 block, size_t shared, cudaError_t code, const char* part) {
    cudaLaunchConfig_t c;
    c.gridDim = grid;
    c.blockDim = block;
    c.dynamicSmemBytes = shared;
    CHECK(cudaLaunchKernelEx(&c, add_kernel, x.p, 1.0f) == code);
    CHECK(says(part));
    CHECK(cudaGetLastError() == code && cudaGetLastError() == cudaSuccess);  // not sticky
  };
  refused(1, 1025, 0, cudaErrorInvalidConfiguration, "got grid 1x1x1, block 1025x1x1, expected");
  refused(1, dim3(32, 33), 0, cudaErrorInvalidConfiguration, "32x33x1");
  refused(1, 0, 0, cudaErrorInvalidConfiguration, "0x1x1");
  refused(dim3(1, 65536), 32, 0, cudaErrorInvalidConfiguration, "1x65536x1");
  refused(1, 32, (48 << 10) + 1, cudaErrorInvalidValue, "got 49153 bytes, expected at most 49152");
  CHECK_THROWS(launch("too much", dynamic_kernel, {dim3(1), dim3(32), nullptr, 200 << 10}, x.p, 1),
               fastcnn::DeviceError);
  launch("opted in", dynamic_kernel, {dim3(1), dim3(32), nullptr, 100 << 10}, x.p, 25600);
  CHECK(x.host()[31] == 25600 - 1 - 31);
}

void test_memory() {
  std::vector<float> host(100, 2.0f);
  const Device<float> a(host), b(100);
  CHECK(cudaMemcpy(b.p, a.p, 400, cudaMemcpyDeviceToDevice) == cudaSuccess && b.host() == host);
  CHECK(cudaMemcpy(b.p + 1, host.data(), 400, cudaMemcpyHostToDevice) == cudaErrorInvalidValue);
  CHECK(says("400 bytes from byte 4 of an allocation of 400 bytes ("));
  CHECK(cudaMemcpy(host.data(), a.p, 400, cudaMemcpyHostToDevice) == cudaErrorInvalidValue);
  CHECK(cudaMemcpy(host.data(), a.p, 400, cudaMemcpyDefault) == cudaSuccess);
  cudaGetLastError();
  cudaPointerAttributes attributes;
  CHECK(cudaPointerGetAttributes(&attributes, a.p + 5) == cudaSuccess);
  CHECK(attributes.type == cudaMemoryTypeDevice);
  cudaPointerGetAttributes(&attributes, host.data());
  CHECK(attributes.type == cudaMemoryTypeUnregistered);
  const uint64_t before = emu::allocated_bytes();
  void* p;
  CHECK(cudaMalloc(&p, 77) == cudaSuccess && emu::allocated_bytes() == before + 77);
  CHECK(cudaFree(p) == cudaSuccess);
  CHECK(emu::allocated_bytes() == before);
}

/// Work of one stream in order; a second stream after an event; the default stream after the blocking ones.
void test_streams(bool late) {
  emu::set_late_streams(late);
  cudaStream_t a, b;
  cudaEvent_t e, f;
  CHECK(cudaStreamCreateWithFlags(&a, cudaStreamDefault) == cudaSuccess);
  CHECK(cudaStreamCreateWithFlags(&b, cudaStreamNonBlocking) == cudaSuccess);
  cudaEventCreateWithFlags(&e, cudaEventDefault);
  cudaEventCreateWithFlags(&f, cudaEventDefault);
  {
    const Device<float> x(std::vector<float>(64, 1.0f));
    cudaEventRecord(e, a);
    launch("add", add_kernel, {dim3(1), dim3(64), a}, x.p, 1.0f);
    launch("add", add_kernel, {dim3(1), dim3(64), a}, x.p, 2.0f);
    CHECK(cudaStreamQuery(a) == (late ? cudaErrorNotReady : cudaSuccess));
    cudaEventRecord(f, a);
    CHECK(cudaEventQuery(f) == (late ? cudaErrorNotReady : cudaSuccess));
    cudaStreamWaitEvent(b, f);
    launch("add", add_kernel, {dim3(1), dim3(64), b}, x.p, 4.0f);
    CHECK(cudaStreamSynchronize(b) == cudaSuccess);
    CHECK(cudaEventQuery(f) == cudaSuccess && cudaEventSynchronize(f) == cudaSuccess);
    float milliseconds = -1;
    CHECK(cudaEventElapsedTime(&milliseconds, e, f) == cudaSuccess && milliseconds >= 0);
    launch("add", add_kernel, {dim3(1), dim3(64), a}, x.p, 8.0f);
    CHECK(x.host()[63] == 16.0f);  // the default stream waits for a
  }
  cudaEventDestroy(e);
  cudaEventDestroy(f);
  CHECK(cudaStreamDestroy(a) == cudaSuccess && cudaStreamDestroy(b) == cudaSuccess);
  CHECK(cudaStreamSynchronize(a) == cudaErrorInvalidResourceHandle);
  cudaGetLastError();
  emu::set_late_streams(false);
}

constexpr int kBrokenLine = __LINE__ + 1;
FC_KERNEL broken_kernel(const float* x, float* y) { y[threadIdx.x] = load(x + 100000); }

void test_sticky() {
  const Device<float> x(64), y(64);
  cudaLaunchConfig_t c;
  c.blockDim = 32;
  c.gridDim = dim3(3);
  CHECK(cudaLaunchKernelEx(&c, broken_kernel, x.p, y.p) == cudaErrorIllegalAddress);
  CHECK(says("out of bounds: global load of 4 bytes outside every allocation of the device"));
  CHECK(says("test_runtime.cpp:" + std::to_string(kBrokenLine) + ", block (0,0,0), thread (0,0,0)"));
  const std::string text = emu::error_text();
  void* p;
  CHECK(cudaLaunchKernelEx(&c, add_kernel, y.p, 1.0f) == cudaErrorIllegalAddress);
  CHECK(cudaMalloc(&p, 4) == cudaErrorIllegalAddress);
  CHECK(cudaMemcpy(y.p, x.p, 4, cudaMemcpyDefault) == cudaErrorIllegalAddress);
  CHECK(cudaGetLastError() == cudaErrorIllegalAddress && cudaGetLastError() == cudaErrorIllegalAddress);
  CHECK(emu::error_text() == text);
  CHECK(std::strcmp(cudaGetErrorName(cudaErrorIllegalAddress), "cudaErrorIllegalAddress") == 0);
  emu::reset_errors();
  CHECK(cudaGetLastError() == cudaSuccess);
  launch("after", add_kernel, {dim3(1), dim3(32)}, y.p, 1.0f);
}

// ---- counters ----
FC_KERNEL pattern_kernel(const float* x, float* y, int stride, int active) {
  FC_SHARED(float, s, [32 * 33]);
  const int i = static_cast<int>(threadIdx.x);
  if (i >= active) return;
  store(s + i * stride, 1.0f);
  store(y + i, load(x + i * stride));
}
FC_KERNEL vector_kernel(const float* x) {
  FC_SHARED(float, s, [4 * 32 * 2]);
  const auto v = load(reinterpret_cast<const Vec<float, 4>*>(x) + threadIdx.x);
  store(reinterpret_cast<Vec<float, 4>*>(s) + threadIdx.x, v);
}

void test_counters() {
  const Device<float> x(std::vector<float>(32 * 33)), y(32);
  const struct {
    int stride, active;
    uint64_t sectors, sectors_ideal, wavefronts;
  } rows[] = {{1, 32, 4 + 4, 8, 1}, {2, 32, 8 + 4, 8, 2},  {32, 32, 32 + 4, 8, 32}, {33, 32, 32 + 4, 8, 1},
              {0, 32, 1 + 4, 5, 1}, {8, 32, 32 + 4, 8, 8}, {1, 10, 2 + 2, 4, 1},    {16, 4, 4 + 1, 2, 2}};
  for (const auto& r : rows) {
    emu::start_counting();
    launch("pattern", pattern_kernel, {dim3(1), dim3(32)}, x.p, y.p, r.stride, r.active);
    const auto lines = emu::stop_counting();
    const emu::Traffic global = emu::total(lines, false), shared = emu::total(lines, true);
    CHECK(lines.size() == 3 && global.requests == 2 && shared.requests == 1);
    CHECK(global.bytes == static_cast<uint64_t>(8 * r.active));
    CHECK(global.units == r.sectors && global.ideal == r.sectors_ideal);
    CHECK(shared.units == r.wavefronts && shared.ideal == 1);
  }
  emu::start_counting();
  launch("vector", vector_kernel, {dim3(1), dim3(32)}, x.p);
  const auto lines = emu::stop_counting();
  CHECK(emu::total(lines, false).units == 16 && emu::total(lines, true).units == 4);
  CHECK(lines.at(0).file.find("test_runtime.cpp") != std::string::npos && lines.at(0).line > 0);
}

}  // namespace

int main() {
  test_cards();
  test_refused_launches();
  test_memory();
  test_streams(false);
  test_streams(true);
  test_sticky();
  if (!test::kThreadSanitizer) test_counters();
  return test::report("emulated runtime");
}
