// Who waits for whom on a card (streams.h): each stream that is alive has a bit, so that memory can name its users.
#include <array>
#include <mutex>
#include <type_traits>
#include <utility>
#include <vector>

#include "cuda/launch.cuh"
#include "cuda/runtime.h"
#include "cuda/streams.h"

namespace fastcnn::cuda {

class Stream {
 public:
  Stream(int device, cudaStream_t handle, bool own);
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  StreamSet set() const { return StreamSet{1} << number_; }
  const int device;
  const cudaStream_t handle;

 private:
  const bool own_;
  const int number_;  // its bit
};

namespace {

constexpr int kNumbers = 63;  // 0 is the default stream
// Handles of CUDA's own streams, by which other libraries name them.
constexpr uintptr_t kLegacy = 1, kPerThread = 2;

using EventPtr = std::shared_ptr<std::remove_pointer_t<cudaEvent_t>>;

cudaStream_t as_stream(uintptr_t handle) {
  return handle == kLegacy ? nullptr : reinterpret_cast<cudaStream_t>(handle);
}
cudaStream_t raw(const StreamPtr& stream) { return stream ? stream->handle : nullptr; }

/// At the end of what the stream was given so far.
EventPtr end_of(int device, cudaStream_t stream) {
  use_device(device);
  cudaEvent_t made;
  check(cudaEventCreateWithFlags(&made, cudaEventDisableTiming), "stream");
  EventPtr end(made, [](cudaEvent_t e) { cudaEventDestroy(e); });  // takes effect once the event is done
  check(cudaEventRecord(made, stream), "stream");
  return end;
}

/// What the bits stand for. The end of a stream that is gone stays until it is reached.
class Numbers {
 public:
  int take(int device, cudaStream_t handle) {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (int i = 1; i < kNumbers; ++i) {
      Slot& s = slots_[static_cast<size_t>(i)];
      if (s.live || (s.end && cudaEventQuery(s.end.get()) != cudaSuccess)) continue;
      s = Slot{device, handle, true, nullptr};
      return i;
    }
    return kNumbers;
  }
  void give(int number) noexcept {
    if (number == kNumbers) return;
    const std::lock_guard<std::mutex> lock(mutex_);
    Slot& s = slots_[static_cast<size_t>(number)];
    s.live = false;
    try {
      s.end = end_of(s.device, s.handle);
    } catch (...) {  // the driver is gone, or an error that the next call reports
    }
  }
  StreamSet find(int device, cudaStream_t handle) {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (size_t i = 1; i < kNumbers; ++i)
      if (slots_[i].live && slots_[i].handle == handle && slots_[i].device == device)
        return StreamSet{1} << i;
    return kUnknownStreams;
  }
  /// Those of streams with a bit; bit 0 is the default stream of `device`.
  std::vector<EventPtr> ends_of(int device, StreamSet streams) {
    std::vector<EventPtr> ends;
    const std::lock_guard<std::mutex> lock(mutex_);
    for (size_t i = 0; i < kNumbers; ++i) {
      if (!(streams >> i & 1)) continue;
      const Slot& s = slots_[i];
      if (i == 0 || s.live) {
        ends.push_back(end_of(i ? s.device : device, i ? s.handle : nullptr));
      } else if (s.end) {
        ends.push_back(s.end);
      }
    }
    use_device(device);
    return ends;
  }

 private:
  struct Slot {
    int device = 0;
    cudaStream_t handle = nullptr;
    bool live = false;
    EventPtr end;
  };
  std::mutex mutex_;
  std::array<Slot, kNumbers> slots_;
};

Numbers& numbers() {
  static auto* n = new Numbers;  // never destroyed: tensors may outlive static destruction
  return *n;
}

StreamPtr& chosen(int device) {
  thread_local std::array<StreamPtr, kMaxDevices> streams;
  return streams.at(static_cast<size_t>(device));
}

void make_wait(int device, cudaStream_t waiter, StreamSet streams) {
  if (streams & kUnknownStreams) return synchronize(device);
  for (const EventPtr& end : numbers().ends_of(device, streams))
    check(cudaStreamWaitEvent(waiter, end.get(), 0), "stream");
}

/// Memory of other libraries, until the work on it is done.
class Leaving {
 public:
  void add(std::vector<EventPtr> ends, std::shared_ptr<void> owner) {
    const std::lock_guard<std::mutex> lock(mutex_);
    rows_.emplace_back(std::move(ends), std::move(owner));
  }
  void drop_done() {
    std::vector<Row> done;  // dropped behind the lock: an owner may run any code
    const std::lock_guard<std::mutex> lock(mutex_);
    for (size_t i = 0; i < rows_.size();) {
      bool ready = true;
      for (const EventPtr& end : rows_[i].first)
        ready = ready && cudaEventQuery(end.get()) != cudaErrorNotReady;
      if (!ready) {
        ++i;
        continue;
      }
      done.push_back(std::move(rows_[i]));
      rows_.erase(rows_.begin() + static_cast<ptrdiff_t>(i));
    }
  }

 private:
  using Row = std::pair<std::vector<EventPtr>, std::shared_ptr<void>>;
  std::mutex mutex_;
  std::vector<Row> rows_;
};

Leaving& leaving() {
  static auto* l = new Leaving;
  return *l;
}

}  // namespace

// ---- streams ----

Stream::Stream(int d, cudaStream_t h, bool own)
    : device(d), handle(h), own_(own), number_(numbers().take(d, h)) {}
Stream::~Stream() {
  numbers().give(number_);
  if (own_) cudaStreamDestroy(handle);
}

StreamPtr new_stream(int device) {
  use_device(device);
  cudaStream_t handle;
  check(cudaStreamCreateWithFlags(&handle, cudaStreamNonBlocking), "stream");
  return std::make_shared<Stream>(device, handle, true);
}

StreamPtr foreign_stream(int device, uintptr_t handle) {
  const cudaStream_t stream = as_stream(handle);
  end_of(device, stream);  // an error if it is not the card's
  return stream ? std::make_shared<Stream>(device, stream, false) : nullptr;
}

uintptr_t handle_of(const StreamPtr& stream) { return reinterpret_cast<uintptr_t>(raw(stream)); }

bool is_done(int device, const StreamPtr& stream) {
  use_device(device);
  const cudaError_t e = cudaStreamQuery(raw(stream));
  if (e != cudaErrorNotReady) check(e, "stream");
  return e == cudaSuccess;
}

void synchronize_stream(int device, const StreamPtr& stream) {
  use_device(device);
  check(cudaStreamSynchronize(raw(stream)), "synchronize");
  drop_done();
}

const StreamPtr& current_stream(int device) { return chosen(device); }
void set_current_stream(int device, StreamPtr stream) { chosen(device) = std::move(stream); }
void* current_handle(int device) { return raw(chosen(device)); }
StreamSet current_set(int device) {
  const StreamPtr& mine = chosen(device);
  return mine ? mine->set() : kDefaultStream;
}

// ---- who waits for whom ----

void wait_for(int device, StreamSet streams) {
  make_wait(device, raw(chosen(device)), streams & ~(current_set(device) & ~kUnknownStreams));
}

StreamSet reader_waits_for(int device, uintptr_t reader, StreamSet streams) {
  if (reader == kPerThread) {  // of a thread that nobody knows: the host waits
    if (streams & kUnknownStreams) synchronize(device);
    for (const EventPtr& end : numbers().ends_of(device, streams & ~kUnknownStreams))
      check(cudaEventSynchronize(end.get()), "stream");
    return kUnknownStreams;
  }
  const cudaStream_t stream = as_stream(reader);
  const StreamSet set = stream ? numbers().find(device, stream) : kDefaultStream;
  make_wait(device, stream, streams & ~(set & ~kUnknownStreams));
  return set;
}

void wait_for_handle(int device, uintptr_t handle) {
  const cudaStream_t stream = as_stream(handle), mine = raw(chosen(device));
  if (stream != mine) check(cudaStreamWaitEvent(mine, end_of(device, stream).get(), 0), "stream");
}

void drop_after(int device, StreamSet streams, std::shared_ptr<void> owner) {
  drop_done();
  try {
    if (streams & kUnknownStreams) synchronize(device);
    leaving().add(numbers().ends_of(device, streams & ~kUnknownStreams), std::move(owner));
  } catch (const DeviceError&) {  // nothing runs any more; the next call reports it
  }
  drop_done();
}

void drop_done() { leaving().drop_done(); }

// ---- events ----

namespace {
cudaEvent_t raw(void* event) { return static_cast<cudaEvent_t>(event); }
}  // namespace

Event::Event(int device, bool timing) : device_(device) {
  use_device(device);
  cudaEvent_t made;
  check(cudaEventCreateWithFlags(&made, timing ? cudaEventDefault : cudaEventDisableTiming), "event");
  event_ = made;
}
Event::~Event() { cudaEventDestroy(raw(event_)); }
void Event::record(const StreamPtr& stream) {
  use_device(device_);
  check(cudaEventRecord(raw(event_), raw(stream)), "event");
}
void Event::make_wait(int device, const StreamPtr& stream) const {
  use_device(device);
  check(cudaStreamWaitEvent(raw(stream), raw(event_), 0), "event");
}
void Event::synchronize() const { check(cudaEventSynchronize(raw(event_)), "event"); }
bool Event::is_done() const {
  const cudaError_t e = cudaEventQuery(raw(event_));
  if (e != cudaErrorNotReady) check(e, "event");
  return e == cudaSuccess;
}
float Event::milliseconds_until(const Event& later) const {
  float milliseconds = 0;
  check(cudaEventElapsedTime(&milliseconds, raw(event_), raw(later.event_)), "event");
  return milliseconds;
}

}  // namespace fastcnn::cuda
