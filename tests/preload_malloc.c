// Interposed before the C library: counts allocations of at least LARGE_BYTES while watching is on.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>
#include <sys/mman.h>

#define LARGE_BYTES (64 << 10)

static volatile int watching;
static volatile long mallocs, mmaps, largest;

void witness_watch(int on) { watching = on; }
long witness_mallocs(void) { return mallocs; }
long witness_mmaps(void) { return mmaps; }
long witness_largest(void) { return largest; }

static void note(volatile long* count, size_t bytes) {
  if (!watching || bytes < LARGE_BYTES) return;
  __atomic_add_fetch(count, 1, __ATOMIC_RELAXED);
  if ((long)bytes > largest) largest = (long)bytes;
}

void* __libc_malloc(size_t);
void* __libc_calloc(size_t, size_t);
void* __libc_realloc(void*, size_t);
void* __libc_memalign(size_t, size_t);

void* malloc(size_t bytes) { return note(&mallocs, bytes), __libc_malloc(bytes); }
void* calloc(size_t n, size_t bytes) { return note(&mallocs, n * bytes), __libc_calloc(n, bytes); }
void* realloc(void* p, size_t bytes) { return note(&mallocs, bytes), __libc_realloc(p, bytes); }
void* memalign(size_t align, size_t bytes) { return note(&mallocs, bytes), __libc_memalign(align, bytes); }
void* aligned_alloc(size_t align, size_t bytes) {
  return note(&mallocs, bytes), __libc_memalign(align, bytes);
}
int posix_memalign(void** out, size_t align, size_t bytes) {
  note(&mallocs, bytes);
  *out = __libc_memalign(align, bytes);
  return *out ? 0 : 12;
}
void* mmap(void* at, size_t bytes, int protection, int flags, int file, off_t offset) {
  static void* (*real)(void*, size_t, int, int, int, off_t);
  if (!real) real = (void* (*)(void*, size_t, int, int, int, off_t))dlsym(RTLD_NEXT, "mmap");
  note(&mmaps, bytes);
  return real(at, bytes, protection, flags, file, offset);
}
// Memory behind addresses that a process has already: how a segment grows.
int mprotect(void* at, size_t bytes, int protection) {
  static int (*real)(void*, size_t, int);
  if (!real) real = (int (*)(void*, size_t, int))dlsym(RTLD_NEXT, "mprotect");
  if (protection & PROT_WRITE) note(&mmaps, bytes);
  return real(at, bytes, protection);
}
