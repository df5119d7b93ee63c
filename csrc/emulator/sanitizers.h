// What the sanitizers must be told about fibers and about memory that is ours to hand out. Nothing in a plain build.
//
// ThreadSanitizer: each GPU thread is a fiber of its own to it, created by the scheduler, and switches order
// nothing; only barriers and the beginning and end of a block do. The emulator itself is compiled without
// -fsanitize=thread (EMULATOR_TSAN says that the kernels are with it), so that its own traffic is not looked at.
#pragma once

#include <cstddef>

extern "C" {  // of the sanitizers' runtimes, which only their builds have
void __sanitizer_start_switch_fiber(void** save, const void* stack, size_t bytes);
void __sanitizer_finish_switch_fiber(void* saved, const void** stack, size_t* bytes);
void __asan_poison_memory_region(const volatile void* p, size_t bytes);
void __asan_unpoison_memory_region(const volatile void* p, size_t bytes);
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

namespace emu::asan {
#if defined(__SANITIZE_ADDRESS__)
constexpr bool kOn = true;
#else
constexpr bool kOn = false;
#endif
inline void poison(const void* p, size_t bytes) { kOn ? __asan_poison_memory_region(p, bytes) : void(); }
inline void unpoison(const void* p, size_t bytes) { kOn ? __asan_unpoison_memory_region(p, bytes) : void(); }
}  // namespace emu::asan

namespace emu::tsan {
#if defined(EMULATOR_TSAN)
constexpr bool kOn = true;
#else
constexpr bool kOn = false;
#endif
inline void* current() { return kOn ? __tsan_get_current_fiber() : nullptr; }
inline void* create() { return kOn ? __tsan_create_fiber(0) : nullptr; }
inline void switch_to(void* fiber) { kOn ? __tsan_switch_to_fiber(fiber, 1) : void(); }  // 1: orders nothing
inline void acquire(void* address) { kOn ? __tsan_acquire(address) : void(); }
inline void release(void* address) { kOn ? __tsan_release(address) : void(); }
/// A read that the emulator does for the running thread.
inline void read(const void* p, size_t n) { kOn ? __tsan_read_range(const_cast<void*>(p), n) : void(); }
/// While one lives, the thread's accesses are the emulator's own: calls of memmove and new inside it.
struct Own {
  Own() {
    kOn ? AnnotateIgnoreReadsBegin(__FILE__, __LINE__) : void();
    kOn ? AnnotateIgnoreWritesBegin(__FILE__, __LINE__) : void();
  }
  ~Own() {
    kOn ? AnnotateIgnoreWritesEnd(__FILE__, __LINE__) : void();
    kOn ? AnnotateIgnoreReadsEnd(__FILE__, __LINE__) : void();
  }
};
}  // namespace emu::tsan
