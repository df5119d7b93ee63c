// What tests, the bindings and the environment say to the emulator beyond the CUDA runtime.
#pragma once

#include <cstdint>
#include <string>

namespace emu {

/// Which card is emulated: t4 (sm_75), a100 (sm_80) or h200 (sm_90); FASTCNN_EMULATOR_CARD, default a100.
/// False if the name is unknown. `total_memory` in bytes replaces the card's, 0 keeps it.
bool set_card(const std::string& name, uint64_t total_memory = 0);

/// The order in which threads and blocks get their turn: FASTCNN_EMULATOR_ORDER = forward (default), reverse, or a
/// number, the seed of a shuffled order. A correct kernel gives the same result in any.
enum class Order { forward, reverse, shuffle };
void set_order(Order order, uint64_t seed = 0);

/// OS threads that share the blocks of a launch: FASTCNN_EMULATOR_THREADS, default the CPUs of the affinity mask.
void set_workers(int n);

/// Streams: FASTCNN_EMULATOR_STREAMS = eager (default: work is done when it is asked for) or late: only when
/// something waits for it, so that a missing wait shows.
void set_late_streams(bool late);

/// All of them; what the environment says, read at the first use, until one of the above says otherwise.
struct Settings {
  std::string card;
  uint64_t total_memory = 0;
  Order order = Order::forward;
  uint64_t seed = 0;
  int workers = 1;
  bool late_streams = false;
  /// std::invalid_argument if a variable has a value that it cannot have.
  Settings();
};
Settings& settings();

/// The text of the last error, with file and line: "" if there was none.
std::string error_text();
/// Forgets errors, the sticky one too (a process with a real card would have to end).
void reset_errors();

/// Memory that cudaMalloc handed out and has not got back.
uint64_t allocated_bytes();

}  // namespace emu
