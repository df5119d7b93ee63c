// What tests, the bindings and the environment say to the emulator beyond the CUDA runtime.
#pragma once

#include <cstdint>
#include <string>

namespace emu {

/// The order in which threads and blocks get their turn. A correct kernel gives the same result in any.
enum class Order { forward, reverse, shuffle };

/// What the environment says, read at the first use, until somebody changes it.
struct Settings {
  std::string card;  ///< FASTCNN_EMULATOR_CARD: v100 (sm_70, without kernels), t4, a100 (the default) or h200
  uint64_t total_memory = 0;  ///< in bytes, in place of the card's; 0 keeps that
  Order order;  ///< FASTCNN_EMULATOR_ORDER: forward (default), reverse, or a number, the seed of a shuffle
  uint64_t seed = 0;
  int workers;  ///< FASTCNN_EMULATOR_THREADS: OS threads that share the blocks of a launch, default all CPUs
  bool
      late_streams;  ///< FASTCNN_EMULATOR_STREAMS: eager (default: work is done when it is asked for) or late:
                     ///< only when something waits for it, so that a missing wait shows
  /// std::invalid_argument if a variable has a value that it cannot have.
  Settings();
};
Settings& settings();

/// False if the name is unknown.
bool set_card(const std::string& name, uint64_t total_memory = 0);
void set_order(Order order, uint64_t seed = 0);
inline void set_workers(int n) { settings().workers = n; }
inline void set_late_streams(bool late) { settings().late_streams = late; }

/// The text of the last error, with file and line: "" if there was none.
std::string error_text();
/// Forgets errors, the sticky one too (a process with a real card would have to end).
void reset_errors();

/// Memory that cudaMalloc handed out and has not got back.
uint64_t allocated_bytes();

}  // namespace emu
