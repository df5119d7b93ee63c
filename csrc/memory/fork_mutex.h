// A mutex that is free in a forked child, whatever other threads of the parent did at that moment: it is
// taken around fork() (pthread_atfork), so the data it protects is whole in the child too. Code must not hold
// two of them at once.
#pragma once

#include <mutex>

namespace fastcnn {

class ForkMutex {
 public:
  ForkMutex();
  ~ForkMutex();
  ForkMutex(const ForkMutex&) = delete;
  ForkMutex& operator=(const ForkMutex&) = delete;
  void lock() { mutex_.lock(); }
  void unlock() { mutex_.unlock(); }

 private:
  std::mutex mutex_;
};

using ForkLock = std::lock_guard<ForkMutex>;

}  // namespace fastcnn
