#include "emulator/settings.h"

#include <sched.h>

#include <cstdlib>
#include <stdexcept>

namespace emu {
namespace {

std::string variable(const char* name, const char* otherwise) {
  const char* value = std::getenv(name);
  return value ? value : otherwise;
}
[[noreturn]] void refuse_value(const char* name, const std::string& value, const char* expected) {
  throw std::invalid_argument(std::string(name) + ": unknown value, got " + value + ", expected " + expected);
}
bool is_number(const std::string& text) {
  return !text.empty() && text.size() < 19 && text.find_first_not_of("0123456789") == std::string::npos;
}

}  // namespace

Settings::Settings() : card(variable("FASTCNN_EMULATOR_CARD", "a100")) {
  if (card != "t4" && card != "a100" && card != "h200") {
    refuse_value("FASTCNN_EMULATOR_CARD", card, "t4, a100 or h200");
  }
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
  const std::string threads = variable("FASTCNN_EMULATOR_THREADS", std::to_string(available).c_str());
  workers = is_number(threads) ? std::stoi(threads.substr(0, 4)) : 0;
  if (workers < 1 || (workers > 64 && workers != available)) {
    refuse_value("FASTCNN_EMULATOR_THREADS", threads, "1 to 64");
  }
}

Settings& settings() {
  static Settings s;
  return s;
}

}  // namespace emu
