// Streams and events of cards. On a meta device they order nothing, so that a step that uses them runs dry as well.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "memory/storage.h"

namespace fastcnn::cuda {
class Event;
class Stream;
}  // namespace fastcnn::cuda

namespace fastcnn::ops {

class Stream {
 public:
  /// A new one, or with a handle (a cudaStream_t as a number) somebody else's, who keeps it alive longer; 0 and 1 are
  /// the default stream. ValueError on the CPU, DeviceError if the card is not there or the stream is not its.
  Stream(Device device, std::optional<uintptr_t> handle);
  /// The one that the calling thread gives its work to.
  static Stream current(Device device);
  Device device() const { return device_; }
  uintptr_t handle() const;  ///< 0 for the default stream
  bool is_done() const;
  void synchronize() const;
  /// Returns the one that was current.
  Stream make_current() const;

 private:
  friend class Event;
  explicit Stream(Device device);
  Device device_;
  std::shared_ptr<cuda::Stream> stream_;  ///< nullptr: the default one
};

class Event {
 public:
  explicit Event(bool timing) : timing_(timing) {}
  void record(const Stream& stream);
  /// The stream goes on once the event is reached; an event that was never recorded is.
  void make_wait(const Stream& stream) const;
  void synchronize() const;
  bool is_done() const;
  /// ValueError unless both have times and are done.
  float milliseconds_until(const Event& later) const;

 private:
  const bool timing_;
  bool recorded_ = false;
  Device device_;
  std::shared_ptr<cuda::Event> event_;
};

/// A reader of another library works on `t` from its stream (a handle; 1 default, 2 the thread's): it goes on once the
/// streams that are at work on `t` are done, and is waited for before the memory is used again. -1: nothing is waited
/// for, and whatever the reader does is waited for later.
void hand_to_reader(const Tensor& t, int64_t reader);
/// Work on memory that nobody asked for at this place: the current stream waits for those that are at work on it, and
/// where there are such, the host for the current stream in the end.
class StreamsMeet {
 public:
  explicit StreamsMeet(const StreamedStorage& memory);
  ~StreamsMeet();

 private:
  Device device_;
  bool others_ = false;
};
/// The current stream goes on once this stream of another library has done what it was given.
void wait_for_handle(Device device, uintptr_t handle);
/// The card on which an address lies; ValueError for one on the host.
Device card_of_address(uintptr_t address);

}  // namespace fastcnn::ops
