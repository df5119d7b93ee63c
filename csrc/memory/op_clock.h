// Times ops while somebody asks: every OpScope of every thread becomes one OpCall. One relaxed load otherwise.
#pragma once

#include <cstdint>
#include <vector>

namespace fastcnn {

struct OpCall {
  const char *op, *phase;  ///< interned; as in a MemoryEvent
  const char* note;        ///< what the op chose (the algorithm's name), or ""
  uint32_t layer,
      thread;        ///< number of the layer (set_layer); threads count from 0 in order of their first call
  int64_t start_ns;  ///< since start_op_clock
  int64_t total_ns;  ///< planning, allocation and kernel, ops called from within included
  int64_t self_ns;   ///< without those
};

/// ValueError if it runs already: two profiles would share the calls.
void start_op_clock();
/// The calls that ended since the start, in the order of their ends; ops that still run are not among them.
std::vector<OpCall> stop_op_clock();
/// Adds a note to the op that the current thread runs. `text` lives as long as the process.
void note_op(const char* text);

}  // namespace fastcnn
