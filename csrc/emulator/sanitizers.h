// What the sanitizers must be told about fibers and about memory that is ours to hand out. Nothing in a plain build.
//
// ThreadSanitizer: each GPU thread is a fiber of its own to it, created by the scheduler, and switches order
// nothing; only barriers and the beginning and end of a block do. The emulator itself is compiled without
// -fsanitize=thread (EMULATOR_TSAN says that the kernels are with it), so that its own traffic is not looked at.
#pragma once

#include <cstddef>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(EMULATOR_TSAN)
extern "C" {
void* __tsan_get_current_fiber();
void* __tsan_create_fiber(unsigned flags);
void __tsan_switch_to_fiber(void* fiber, unsigned flags);
void __tsan_acquire(void* address);
void __tsan_release(void* address);
void __tsan_read_range(void* address, unsigned long bytes);
void AnnotateIgnoreReadsBegin(const char* file, int line);
void AnnotateIgnoreReadsEnd(const char* file, int line);
void AnnotateIgnoreWritesBegin(const char* file, int line);
void AnnotateIgnoreWritesEnd(const char* file, int line);
}
#endif

namespace emu {

namespace asan {
#if defined(__SANITIZE_ADDRESS__)
constexpr bool kOn = true;
inline void leave(void** save, const void* stack, size_t bytes) {
  __sanitizer_start_switch_fiber(save, stack, bytes);
}
inline void arrive(void* saved, const void** stack, size_t* bytes) {
  __sanitizer_finish_switch_fiber(saved, stack, bytes);
}
inline void poison(const void* p, size_t bytes) { __asan_poison_memory_region(p, bytes); }
inline void unpoison(const void* p, size_t bytes) { __asan_unpoison_memory_region(p, bytes); }
#else
constexpr bool kOn = false;
inline void leave(void**, const void*, size_t) {}
inline void arrive(void*, const void**, size_t*) {}
inline void poison(const void*, size_t) {}
inline void unpoison(const void*, size_t) {}
#endif
}  // namespace asan

namespace tsan {
#if defined(EMULATOR_TSAN)
constexpr bool kOn = true;
inline void* current() { return __tsan_get_current_fiber(); }
inline void* create() { return __tsan_create_fiber(0); }
inline void switch_to(void* fiber) { __tsan_switch_to_fiber(fiber, 1); }  // 1: orders nothing
inline void acquire(void* address) { __tsan_acquire(address); }
inline void release(void* address) { __tsan_release(address); }
/// A read that the emulator does for the running thread.
inline void read(const void* p, size_t bytes) { __tsan_read_range(const_cast<void*>(p), bytes); }
/// While one lives, the thread's accesses are the emulator's own: calls of memmove and new inside it.
struct Own {
  Own() {
    AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
    AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
  }
  ~Own() {
    AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
    AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
  }
};
#else
constexpr bool kOn = false;
struct Own {
  Own() {}
};
inline void* current() { return nullptr; }
inline void* create() { return nullptr; }
inline void switch_to(void*) {}
inline void acquire(void*) {}
inline void release(void*) {}
inline void read(const void*, size_t) {}
#endif
}  // namespace tsan

}  // namespace emu
