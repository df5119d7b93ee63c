// What is emulated: the card, the settings of the environment, and errors, of which a kernel's stays, as on a card, where
// only the end of the process helps. Figures of the cards: NVIDIA's data sheets and the table of compute capabilities in
// the CUDA programming guide; memory as the runtime reports it, a little below the nominal size.
#include <sched.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <stdexcept>

#include "emulator/core.h"

namespace emu {
namespace {

std::mutex mutex;
std::string last_text;
cudaError_t first_sticky = cudaSuccess;
thread_local cudaError_t last = cudaSuccess;

const std::map<std::string, cudaDeviceProp> kCards = {
    {"v100", {"Tesla V100-SXM2-16GB (emulated)", 16945512448u, 96 << 10, 7, 0, 80}},
    {"t4", {"Tesla T4 (emulated)", 15828320256u, 64 << 10, 7, 5, 40}},
    {"a100", {"NVIDIA A100-SXM4-80GB (emulated)", 84974239744u, 163 << 10, 8, 0, 108}},
    {"h200", {"NVIDIA H200 (emulated)", 150121545728u, 227 << 10, 9, 0, 132}},
};

/// What the environment says: one of `choices` (the first if it says nothing) or a number from `low` to `high`.
std::string variable(const char* name, const std::vector<std::string>& choices, const char* expected,
                     uint64_t low = 1, uint64_t high = 0) {
  const char* value = std::getenv(name);
  if (!value) return choices[0];
  const size_t digits = std::strspn(value, "0123456789"), size = std::strlen(value);
  const bool number =
      digits && digits == size && size < 19 && std::stoull(value) - low <= high - low && low <= high;
  if (number || std::find(choices.begin(), choices.end(), value) != choices.end()) return value;
  throw std::invalid_argument(text(name, ": unknown value, got ", value, ", expected ", expected));
}

}  // namespace

Settings::Settings() {
  card = variable("FASTCNN_EMULATOR_CARD", {"a100", "v100", "t4", "h200"}, "v100, t4, a100 or h200");
  const std::string turns = variable("FASTCNN_EMULATOR_ORDER", {"forward", "reverse"},
                                     "forward, reverse or a number", 0, UINT64_MAX);
  order = turns == "forward" ? Order::forward : turns == "reverse" ? Order::reverse : Order::shuffle;
  if (order == Order::shuffle) seed = std::stoull(turns);
  late_streams = variable("FASTCNN_EMULATOR_STREAMS", {"eager", "late"}, "eager or late") == "late";
  cpu_set_t cpus;
  const int available = sched_getaffinity(0, sizeof cpus, &cpus) == 0 ? CPU_COUNT(&cpus) : 1;
  workers = std::stoi(variable("FASTCNN_EMULATOR_THREADS", {std::to_string(available)}, "1 to 64", 1, 64));
}

Settings& settings() {
  static Settings s;
  return s;
}

bool set_card(const std::string& name, uint64_t total_memory) {
  if (!kCards.count(name)) return false;
  settings().card = name;
  settings().total_memory = total_memory;
  return true;
}
void set_order(Order order, uint64_t seed) {
  settings().order = order;
  settings().seed = seed;
}

int arch() {
  const cudaDeviceProp& p = kCards.at(settings().card);
  return p.major * 10 + p.minor;
}

cudaError_t refuse(cudaError_t code, const std::string& text, bool stays) {
  std::lock_guard<std::mutex> lock(mutex);
  if (first_sticky != cudaSuccess) return first_sticky;
  (stays ? first_sticky : last) = code;
  last_text = text;
  return code;
}

cudaError_t sticky() {
  std::lock_guard<std::mutex> lock(mutex);
  return first_sticky;
}

std::string error_text() {
  std::lock_guard<std::mutex> lock(mutex);
  return last_text;
}

void reset_errors() {
  std::lock_guard<std::mutex> lock(mutex);
  first_sticky = last = cudaSuccess;
  last_text.clear();
}

std::ostream& operator<<(std::ostream& out, Site site) {
  return out << (site.file ? site.file : "?") << ":" << site.line;
}
std::ostream& operator<<(std::ostream& out, uint3 v) {
  return out << "(" << v.x << "," << v.y << "," << v.z << ")";
}

}  // namespace emu

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* p, int device) {
  if (const cudaError_t e = cudaSetDevice(device); e != cudaSuccess) return e;
  const emu::Settings& s = emu::settings();
  *p = emu::kCards.at(s.card);
  if (s.total_memory) p->totalGlobalMem = s.total_memory;
  return cudaSuccess;
}
cudaError_t cudaGetDeviceCount(int* count) {
  *count = 1;
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) {
  if (device == 0) return cudaSuccess;
  return emu::refuse(cudaErrorInvalidDevice, emu::text("device ", device, " of 1"));
}
cudaError_t cudaDeviceSynchronize() { return emu::drain_all(); }
cudaError_t cudaGetLastError() {
  const cudaError_t s = emu::sticky(), last = emu::last;
  emu::last = cudaSuccess;
  return s != cudaSuccess ? s : last;
}

const char* cudaGetErrorName(cudaError_t code) {
#define EMULATOR_ROW(name, number) \
  if (code == number) return "cuda" #name;
  EMULATOR_ERRORS(EMULATOR_ROW)
  return "unrecognized error code";
}
const char* cudaGetErrorString(cudaError_t code) { return cudaGetErrorName(code); }
