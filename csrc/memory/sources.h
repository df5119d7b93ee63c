// The sources of memory (memory/allocator.h, Source).
#pragma once

#include <memory>

#include "memory/allocator.h"

namespace fastcnn {

std::unique_ptr<Source> make_cpu_source();
bool cpu_source_grows();
/// `growable`: as the source of the device whose twin it is for.
std::unique_ptr<Source> make_meta_source(bool growable);

/// How memory of a card is had: handed over by ops/ in a build with CUDA (memory/ cannot ask the CUDA room).
struct CudaMemory {
  void* (*take)(int device, size_t bytes);  ///< nullptr if the card has no more
  void (*give)(int device, void* data);
  bool exact;                                       ///< blocks of their own (Source::exact)
  StreamSet (*stream)(int device);                  ///< Source::stream
  void (*wait_for)(int device, StreamSet streams);  ///< Source::wait_for
  /// Drops `owner`, now or later, once the streams have done what they were given.
  void (*drop_after)(int device, StreamSet streams, std::shared_ptr<void> owner);
  /// Drops what can be dropped by now.
  void (*drop_done)();
  void* (*take_host)(size_t bytes);  ///< page-locked; nullptr if there is no more
  void (*give_host)(void* data);
};
void set_cuda_memory(const CudaMemory& memory);
/// Of cuda:`device`, which must be there.
std::unique_ptr<Source> make_cuda_source(int device);

}  // namespace fastcnn
