// What is emulated: the card, and the settings of the environment. Figures of the cards: NVIDIA's data sheets and the
// table of compute capabilities in the CUDA programming guide; memory as the runtime reports it, a little below the
// nominal size.
#include <sched.h>

#include <algorithm>
#include <cstdlib>
#include <stdexcept>

#include "emulator/core.h"

namespace emu {
namespace {

const struct Card {
  const char* key;
  cudaDeviceProp properties;
} kCards[] = {
    {"t4", {"Tesla T4 (emulated)", 15828320256u, 64 << 10, 7, 5, 40}},
    {"a100", {"NVIDIA A100-SXM4-80GB (emulated)", 84974239744u, 163 << 10, 8, 0, 108}},
    {"h200", {"NVIDIA H200 (emulated)", 150121545728u, 227 << 10, 9, 0, 132}},
};

const Card* find_card(const std::string& key) {
  for (const Card& c : kCards) {
    if (key == c.key) return &c;
  }
  return nullptr;
}

std::string variable(const char* name, const std::string& otherwise) {
  const char* value = std::getenv(name);
  return value ? value : otherwise;
}
[[noreturn]] void refuse_value(const char* name, const std::string& value, const char* expected) {
  throw std::invalid_argument(text(name, ": unknown value, got ", value, ", expected ", expected));
}
bool is_number(const std::string& text) {
  return !text.empty() && text.size() < 19 && text.find_first_not_of("0123456789") == std::string::npos;
}

}  // namespace

Settings::Settings() : card(variable("FASTCNN_EMULATOR_CARD", "a100")) {
  if (!find_card(card)) refuse_value("FASTCNN_EMULATOR_CARD", card, "t4, a100 or h200");
  const std::string order_text = variable("FASTCNN_EMULATOR_ORDER", "forward");
  if (is_number(order_text)) {
    order = Order::shuffle;
    seed = std::stoull(order_text);
  } else if (order_text == "reverse") {
    order = Order::reverse;
  } else if (order_text != "forward") {
    refuse_value("FASTCNN_EMULATOR_ORDER", order_text, "forward, reverse or a number");
  }
  const std::string streams = variable("FASTCNN_EMULATOR_STREAMS", "eager");
  late_streams = streams == "late";
  if (!late_streams && streams != "eager") refuse_value("FASTCNN_EMULATOR_STREAMS", streams, "eager or late");
  cpu_set_t cpus;
  const int available = sched_getaffinity(0, sizeof cpus, &cpus) == 0 ? CPU_COUNT(&cpus) : 1;
  const std::string threads = variable("FASTCNN_EMULATOR_THREADS", std::to_string(available));
  workers = is_number(threads) ? std::stoi(threads.substr(0, 4)) : 0;
  if (workers < 1 || (workers > 64 && workers != available)) {
    refuse_value("FASTCNN_EMULATOR_THREADS", threads, "1 to 64");
  }
}

Settings& settings() {
  static Settings s;
  return s;
}

bool set_card(const std::string& name, uint64_t total_memory) {
  if (!find_card(name)) return false;
  settings().card = name;
  settings().total_memory = total_memory;
  return true;
}
void set_order(Order order, uint64_t seed) {
  drain_all();
  settings().order = order;
  settings().seed = seed;
}
void set_workers(int n) { settings().workers = std::min(std::max(n, 1), 64); }
void set_late_streams(bool on) {
  drain_all();
  settings().late_streams = on;
}

int arch() {
  const cudaDeviceProp& p = find_card(settings().card)->properties;
  return p.major * 10 + p.minor;
}

}  // namespace emu

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* p, int device) {
  if (const cudaError_t e = cudaSetDevice(device); e != cudaSuccess) return e;
  const emu::Settings& s = emu::settings();
  *p = emu::find_card(s.card)->properties;
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
