// Streams as queues of work, done at once or as late as the rules allow.
#pragma once

#include <functional>

#include "emulator/runtime_api.h"

namespace emu {

/// Puts work into the stream's turn. Returns the sticky error if there is one.
cudaError_t submit(cudaStream_t stream, std::function<void()> work);
/// Does all that was asked of the stream, of all streams.
cudaError_t drain(cudaStream_t stream);
cudaError_t drain_all();

}  // namespace emu
