// Streams as queues of work, done at once or as late as the rules allow; events as places in them.
#include <algorithm>
#include <chrono>
#include <mutex>

#include "emulator/core.h"

using Lock = std::lock_guard<std::recursive_mutex>;

struct CUstream_st {
  bool blocking = true;  // waits for the default stream, and it for this one
  std::deque<std::function<void()>> queue;
  uint64_t done = 0;
};
struct CUevent_st {
  /// One recording: a stream's place in its queue. A later one is another Mark.
  struct Mark {
    CUstream_st* stream;
    uint64_t place;
    bool done = false;
    std::chrono::steady_clock::time_point when;
  };
  std::shared_ptr<Mark> mark;
  bool timing;
};

namespace emu {
namespace {

std::recursive_mutex mutex;  // work runs under it: one device
CUstream_st default_stream;
std::vector<CUstream_st*> others;

/// f(the stream), under the lock, if there is such a stream.
template <class F>
cudaError_t with(cudaStream_t stream, F&& f) {
  Lock lock(mutex);
  const bool known = !stream || std::find(others.begin(), others.end(), stream) != others.end();
  if (!known) return refuse(cudaErrorInvalidResourceHandle, "stream: no such stream");
  return f(stream ? *stream : default_stream);
}

void drain_to(CUstream_st& s, uint64_t place = UINT64_MAX) {
  while (s.done < place && !s.queue.empty()) {
    const auto work = std::move(s.queue.front());
    s.queue.pop_front();
    ++s.done;
    if (sticky() == cudaSuccess) work();
  }
}
void drain_to(const CUevent_st::Mark& mark) {
  if (!mark.done) drain_to(*mark.stream, mark.place);
}

/// Who asks in a loop gets there.
cudaError_t ask(CUstream_st& s, bool done) {
  if (done) return sticky();
  drain_to(s, s.done + 1);
  return cudaErrorNotReady;
}

/// The default stream and the blocking others wait for each other.
void drain_others(const CUstream_st& s) {
  if (&s != &default_stream && s.blocking) drain_to(default_stream);
  for (CUstream_st* other : others) {
    if (&s == &default_stream && other->blocking) drain_to(*other);
  }
}

}  // namespace

cudaError_t submit(cudaStream_t stream, std::function<void()> work) {
  return with(stream, [&](CUstream_st& s) {
    drain_others(s);
    s.queue.push_back(std::move(work));
    if (!settings().late_streams) drain_to(s);
    return sticky();
  });
}

cudaError_t drain(cudaStream_t stream) {
  return with(stream, [](CUstream_st& s) {
    drain_to(s);
    if (&s == &default_stream) drain_others(s);
    return sticky();
  });
}

cudaError_t drain_all() {
  Lock lock(mutex);
  drain_to(default_stream);
  for (CUstream_st* s : others) drain_to(*s);
  return sticky();
}

}  // namespace emu

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
  Lock lock(emu::mutex);
  *stream = new CUstream_st{!(flags & cudaStreamNonBlocking), {}, 0};
  emu::others.push_back(*stream);
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  return emu::with(stream, [&](CUstream_st& s) {
    emu::drain_to(s);
    emu::others.erase(std::remove(emu::others.begin(), emu::others.end(), stream), emu::others.end());
    delete stream;
    return cudaSuccess;
  });
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) { return emu::drain(stream); }
cudaError_t cudaStreamQuery(cudaStream_t stream) {
  return emu::with(stream, [](CUstream_st& s) { return emu::ask(s, s.queue.empty()); });
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  if (!event->mark) return cudaSuccess;  // never recorded: nothing to wait for
  return emu::submit(stream, [mark = event->mark] { emu::drain_to(*mark); });
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags) {
  *event = new CUevent_st{nullptr, !(flags & cudaEventDisableTiming)};
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  return emu::with(stream, [&](CUstream_st& s) {
    const auto mark = event->mark = std::make_shared<CUevent_st::Mark>();
    mark->stream = &s;
    mark->place = s.done + s.queue.size() + 1;
    return emu::submit(stream, [mark] {
      mark->when = std::chrono::steady_clock::now();
      mark->done = true;
    });
  });
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  Lock lock(emu::mutex);
  if (event->mark) emu::drain_to(*event->mark);
  return emu::sticky();
}
cudaError_t cudaEventQuery(cudaEvent_t event) {
  Lock lock(emu::mutex);
  return event->mark ? emu::ask(*event->mark->stream, event->mark->done) : emu::sticky();
}
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t from, cudaEvent_t to) {
  Lock lock(emu::mutex);
  if (!from->mark || !to->mark || !from->timing || !to->timing) {
    return emu::refuse(cudaErrorInvalidResourceHandle, "cudaEventElapsedTime: an event without a time");
  }
  if (!from->mark->done || !to->mark->done) return cudaErrorNotReady;
  *milliseconds = std::chrono::duration<float, std::milli>(to->mark->when - from->mark->when).count();
  return cudaSuccess;
}
