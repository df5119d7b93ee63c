// What the environment says, read at the first use, until a test says otherwise (control.h).
#pragma once

#include <cstdint>
#include <string>

#include "emulator/control.h"

namespace emu {

struct Settings {
  std::string card;
  Order order = Order::forward;
  uint64_t seed = 0;
  int workers = 1;
  bool late_streams = false;
  /// std::invalid_argument if a variable has a value that it cannot have.
  Settings();
};
Settings& settings();

}  // namespace emu
