#include "ops/streams.h"

#include "cuda/runtime.h"
#include "cuda/streams.h"
#include "ops/context.h"

namespace fastcnn::ops {

namespace {

void check_card(const char* op, Device device) {
  FC_CHECK(device_props(device).backend == DeviceType::cuda, op, ": got device ", to_string(device),
           ", expected a CUDA device; the CPU has no streams");
}

}  // namespace

Stream::Stream(Device device) : device_(device) {}

// What is checked is the same in a dry run of a build without CUDA.
void Event::record(const Stream& stream) {
  FC_CHECK(!recorded_ || device_ == stream.device(), "Event: recorded on ", to_string(device_),
           " before, got a stream of ", to_string(stream.device()),
           ", expected one card; make another event");
#if defined(FC_WITH_CUDA)
  if (!stream.device().is_meta()) {
    if (!event_) event_ = std::make_shared<cuda::Event>(stream.device().index, timing_);
    event_->record(stream.stream_);
  }
#endif
  device_ = stream.device();
  recorded_ = true;
}
float Event::milliseconds_until(const Event& later) const {
  FC_CHECK(timing_ && later.timing_, "elapsed_time: got an event without times, expected both made with ",
           "Event(enable_timing=True)");
  FC_CHECK(recorded_ && later.recorded_, "elapsed_time: got an event that was never recorded, expected both");
  FC_CHECK(device_ == later.device_, "elapsed_time: got events of ", to_string(device_), " and ",
           to_string(later.device_), ", expected one card");
  FC_CHECK(is_done() && later.is_done(), "elapsed_time: the card has not reached both events yet; ",
           ".synchronize() the later one first");
#if defined(FC_WITH_CUDA)
  if (event_) return event_->milliseconds_until(*later.event_);
#endif
  return 0.0f;  // of a dry run
}

#if defined(FC_WITH_CUDA)
Stream::Stream(Device device, std::optional<uintptr_t> handle) : device_(device) {
  check_card("Stream", device);
  if (device.is_meta()) return;
  FC_CHECK(
      !handle || *handle != 2,
      "Stream: got handle 2, each thread's own default stream, expected one that is the same everywhere");
  stream_ = handle ? cuda::foreign_stream(device.index, *handle) : cuda::new_stream(device.index);
  if (stream_) streams_exist = true;
}
Stream Stream::current(Device device) {
  check_card("current_stream", device);
  Stream s(device);
  if (!device.is_meta()) s.stream_ = cuda::current_stream(device.index);
  return s;
}
uintptr_t Stream::handle() const { return stream_ ? cuda::handle_of(stream_) : 0; }
bool Stream::is_done() const { return device_.is_meta() || cuda::is_done(device_.index, stream_); }
void Stream::synchronize() const {
  if (!device_.is_meta()) cuda::synchronize_stream(device_.index, stream_);
}
Stream Stream::make_current() const {
  Stream before = current(device_);
  if (!device_.is_meta()) cuda::set_current_stream(device_.index, stream_);
  return before;
}

void Event::make_wait(const Stream& stream) const {
  if (event_ && !stream.device().is_meta()) event_->make_wait(stream.device().index, stream.stream_);
}
void Event::synchronize() const {
  if (event_) event_->synchronize();
}
bool Event::is_done() const { return !event_ || event_->is_done(); }

void hand_to_reader(const Tensor& t, int64_t reader) {
  if (t.device().type != DeviceType::cuda) return;
  auto& storage = static_cast<StreamedStorage&>(*t.storage);  // as all are
  const int device = t.device().index;
  const StreamSet ours = storage.streams.load() | cuda::current_set(device);
  storage.streams |= reader == -1
                         ? cuda::kUnknownStreams
                         : cuda::reader_waits_for(device, uintptr_t(reader), ours & ~cuda::kUnknownStreams);
}
StreamsMeet::StreamsMeet(const StreamedStorage& memory) : device_(memory.device) {
  if (device_.type != DeviceType::cuda) return;
  const StreamSet others = memory.streams.load() & ~cuda::current_set(device_.index);
  if (!others) return;
  cuda::wait_for(device_.index, others);
  others_ = true;
}
StreamsMeet::~StreamsMeet() {
  if (!others_) return;
  try {
    Stream::current(device_).synchronize();
  } catch (const DeviceError&) {  // the next call that may throw reports it
  }
}
void wait_for_handle(Device device, uintptr_t handle) {
  if (device.type == DeviceType::cuda) cuda::wait_for_handle(device.index, handle);
}
Device card_of_address(uintptr_t address) {
  const int card = cuda_device_count() ? cuda::card_of_address(reinterpret_cast<void*>(address)) : -1;
  FC_CHECK(card >= 0, "as_tensor: got an address on the host, expected one on a CUDA device");
  return Device{DeviceType::cuda, int16_t(card)};
}
#else
Stream::Stream(Device device, std::optional<uintptr_t>) : device_(device) { check_card("Stream", device); }
Stream Stream::current(Device device) {
  check_card("current_stream", device);
  return Stream(device);
}
uintptr_t Stream::handle() const { return 0; }
bool Stream::is_done() const { return true; }
void Stream::synchronize() const {}
Stream Stream::make_current() const { return *this; }
void Event::make_wait(const Stream&) const {}
void Event::synchronize() const {}
bool Event::is_done() const { return true; }
void hand_to_reader(const Tensor&, int64_t) {}
StreamsMeet::StreamsMeet(const StreamedStorage& memory) : device_(memory.device) {}
StreamsMeet::~StreamsMeet() {}
void wait_for_handle(Device, uintptr_t) {}
Device card_of_address(uintptr_t) { fail("as_tensor: there is no CUDA device, expected one"); }
#endif

}  // namespace fastcnn::ops
