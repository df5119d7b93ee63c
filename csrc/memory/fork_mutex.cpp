#include "memory/fork_mutex.h"

#include <algorithm>
#include <vector>

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#define FC_HAS_FORK 1
#endif

namespace fastcnn {
namespace {

struct Registry {
  std::mutex mutex;
  std::vector<ForkMutex*> all;
};
Registry& registry();

#ifdef FC_HAS_FORK
void before_fork() {
  registry().mutex.lock();
  for (ForkMutex* m : registry().all) m->lock();
}
void after_fork() {
  for (ForkMutex* m : registry().all) m->unlock();
  registry().mutex.unlock();
}
#endif

Registry& registry() {
  static Registry* r = [] {  // never destroyed: allocators live as long as the process
    auto* made = new Registry;
#ifdef FC_HAS_FORK
    pthread_atfork(before_fork, after_fork, after_fork);
#endif
    return made;
  }();
  return *r;
}

}  // namespace

ForkMutex::ForkMutex() {
  Registry& r = registry();
  const std::lock_guard<std::mutex> lock(r.mutex);
  r.all.push_back(this);
}

ForkMutex::~ForkMutex() {
  Registry& r = registry();
  const std::lock_guard<std::mutex> lock(r.mutex);
  r.all.erase(std::find(r.all.begin(), r.all.end(), this));
}

}  // namespace fastcnn
