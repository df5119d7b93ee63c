// Streams and events of a card. A thread gives its work on a card to the stream that it chose for that card, or else to
// the default one (CUDA's "legacy default stream"). Our own streams do not wait for the default one unless told so.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace fastcnn::cuda {

/// A stream beside the default one, which is nullptr. Whoever holds it keeps it alive; work given to it is done even if
/// nobody does any more.
class Stream;
using StreamPtr = std::shared_ptr<Stream>;

/// Streams as a set, a bit each: bit 0 is the default stream of whichever card, kUnknownStreams stands for all that have
/// no bit of their own (those of other libraries, and more than 62 of ours).
using StreamSet = uint64_t;
constexpr StreamSet kDefaultStream = 1, kUnknownStreams = uint64_t{1} << 63;

StreamPtr new_stream(int device);
/// Somebody else's cudaStream_t, who keeps it alive longer than this. DeviceError if it is not a stream of the card.
StreamPtr foreign_stream(int device, uintptr_t handle);
uintptr_t handle_of(const StreamPtr& stream);  ///< cudaStream_t as a number; 0 for the default stream
bool is_done(int device, const StreamPtr& stream);
void synchronize_stream(int device, const StreamPtr& stream);

/// The calling thread's, for this card.
const StreamPtr& current_stream(int device);
void set_current_stream(int device, StreamPtr stream);
/// As kernels and copies take it.
void* current_handle(int device);
StreamSet current_set(int device);

/// The calling thread's stream goes on once these have done what they were given. kUnknownStreams: the host waits until
/// the card has done everything.
void wait_for(int device, StreamSet streams);
/// A stream that others know by its handle goes on once these have done what they were given. Returns its set.
StreamSet reader_waits_for(int device, uintptr_t reader, StreamSet streams);
/// The calling thread's stream goes on once the stream of this handle has done what it was given.
void wait_for_handle(int device, uintptr_t handle);
/// Drops `owner`, now or later, once these streams have done what they were given.
void drop_after(int device, StreamSet streams, std::shared_ptr<void> owner);
/// Drops what can be dropped by now.
void drop_done();

/// A place in a stream's work.
class Event {
 public:
  Event(int device, bool timing);
  ~Event();
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  void record(const StreamPtr& stream);
  void make_wait(int device, const StreamPtr& stream) const;
  void synchronize() const;
  bool is_done() const;
  float milliseconds_until(const Event& later) const;

 private:
  const int device_;
  void* event_ = nullptr;  // cudaEvent_t
};

}  // namespace fastcnn::cuda
