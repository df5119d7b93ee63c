// Cards, their memory, and copies to and from them: what ops/ asks beyond kernels. Nothing here touches the driver
// before it is called, and a machine without one is a card count of 0, not an error.
#pragma once

#include <cstddef>
#include <string>

#include "common/device.h"

namespace fastcnn::cuda {

constexpr int kMaxDevices = 64;

/// Cards that can be used; asked once, at the first call.
int device_count();
/// Why there is none: "no CUDA driver is installed (error 35, ...)".
std::string why_no_device();
const DeviceProps& props_of(int device);

/// The calling thread's kernels and copies go to this card from now on.
void use_device(int device);
/// Waits until the card has done all that it was given. DeviceError with what went wrong meanwhile.
void synchronize(int device);

/// nullptr if the card has no more.
void* take_memory(int device, size_t bytes);
void give_memory(int device, void* data);
/// True if every block is an allocation of its own (the emulator, which then sees each access past an end), unless
/// FASTCNN_EMULATOR_MEMORY=segments asks for what a card does, so that memory that is used again too early shows.
bool exact_memory();

/// Page-locked memory of the host, for every card; nullptr if there is no more.
void* take_host_memory(size_t bytes);
void give_host_memory(void* data);
bool is_page_locked(const void* host);

// Copies of the card in use, in the stream's turn. Host memory may be used again when they return, unless they return
// true: `wait` was false, the memory is page-locked, and the stream may still be at work on it.
bool copy_to_device(void* device, const void* host, size_t bytes, void* stream, bool wait = true);
bool copy_to_host(void* host, const void* device, size_t bytes, void* stream, bool wait = true);
/// From one card to another (or the same): waits for both.
void copy_between_devices(void* to, int to_device, const void* from, int from_device, size_t bytes);

/// The card that memory at this address belongs to; -1 for host memory.
int card_of_address(const void* address);

/// True in a build whose kernels run on the CPU, for tests.
bool is_emulated();

}  // namespace fastcnn::cuda
