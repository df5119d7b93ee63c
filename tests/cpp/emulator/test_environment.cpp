// The FASTCNN_EMULATOR_* variables, each in a process of its own.
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

#include "tools.h"

using namespace fastcnn::cuda;

namespace {

FC_KERNEL turns_kernel(int* turn, int* out) { out[threadIdx.x] = atomicAdd(turn, 1); }
std::vector<int> turns() {
  const test::Device<int> turn(std::vector<int>(1)), out(64);
  launch("turns", turns_kernel, {dim3(1), dim3(64)}, turn.p, out.p);
  return out.host();
}

bool card_is(int major) {
  cudaDeviceProp p;
  return cudaGetDeviceProperties(&p, 0) == cudaSuccess && p.major == major;
}
bool streams_are_late() {
  cudaStream_t s;
  cudaStreamCreateWithFlags(&s, cudaStreamDefault);
  const test::Device<int> x(4);
  cudaMemcpyAsync(x.p, x.p + 1, 4, cudaMemcpyDeviceToDevice, s);
  return cudaStreamQuery(s) == cudaErrorNotReady;
}
/// True if the first use throws this text.
bool refuses(const char* text) {
  try {
    turns();
  } catch (const std::invalid_argument& e) {
    return std::strcmp(e.what(), text) == 0;
  }
  return false;
}

/// Forks, sets the variable, and asks.
template <class F>
bool with(const char* name, const char* value, F&& f) {
  const pid_t child = fork();
  if (child == 0) {
    setenv(name, value, 1);
    _exit(f() ? 0 : 1);
  }
  int status = -1;
  waitpid(child, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

}  // namespace

int main() {
  for (const char* name : {"CARD", "ORDER", "STREAMS", "THREADS"})
    unsetenv(("FASTCNN_EMULATOR_" + std::string(name)).c_str());
  CHECK(with("FASTCNN_EMULATOR_CARD", "t4", [] { return card_is(7); }));
  CHECK(with("FASTCNN_EMULATOR_CARD", "a100", [] { return card_is(8); }));
  CHECK(with("FASTCNN_EMULATOR_CARD", "h200", [] { return card_is(9); }));
  CHECK(with("FASTCNN_EMULATOR_CARD", "k80", [] {
    return refuses("FASTCNN_EMULATOR_CARD: unknown value, got k80, expected v100, t4, a100 or h200");
  }));
  CHECK(with("FASTCNN_EMULATOR_ORDER", "forward", [] { return turns()[63] == 63 && turns()[5] == 5; }));
  CHECK(with("FASTCNN_EMULATOR_ORDER", "reverse", [] { return turns()[63] == 0 && turns()[5] == 58; }));
  CHECK(with("FASTCNN_EMULATOR_ORDER", "7", [] {
    auto t = turns();
    bool moved = false;
    for (int i = 0; i < 64; ++i)
      moved = moved || (t[static_cast<size_t>(i)] != i && t[static_cast<size_t>(i)] != 63 - i);
    return moved && t == turns();  // the same seed, the same order
  }));
  CHECK(with("FASTCNN_EMULATOR_ORDER", "sideways", [] {
    return refuses(
        "FASTCNN_EMULATOR_ORDER: unknown value, got sideways, expected forward, reverse or a number");
  }));
  CHECK(with("FASTCNN_EMULATOR_STREAMS", "late", streams_are_late));
  CHECK(with("FASTCNN_EMULATOR_STREAMS", "eager", [] { return !streams_are_late(); }));
  CHECK(with("FASTCNN_EMULATOR_STREAMS", "", [] {
    return refuses("FASTCNN_EMULATOR_STREAMS: unknown value, got , expected eager or late");
  }));
  CHECK(with("FASTCNN_EMULATOR_THREADS", "3", [] { return turns()[63] == 63; }));
  CHECK(with("FASTCNN_EMULATOR_THREADS", "0",
             [] { return refuses("FASTCNN_EMULATOR_THREADS: unknown value, got 0, expected 1 to 64"); }));
  return test::report("emulator's environment");
}
