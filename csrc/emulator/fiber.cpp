#include "emulator/fiber.h"

#include <sys/mman.h>
#include <ucontext.h>

#include <algorithm>
#include <cstdint>

#include "emulator/sanitizers.h"

namespace emu {

constexpr size_t kGuard = 4096;
constexpr size_t kStack = asan::kOn || tsan::kOn ? 256 << 10 : 64 << 10;

/// Every fiber begins here, as the one that its OS thread enters.
static __thread Fiber* entering __attribute__((tls_model("initial-exec")));
static void begin() {
  Fiber& fiber = *entering;
  if (asan::kOn) __sanitizer_finish_switch_fiber(nullptr, &fiber.resumed_by->stack, &fiber.resumed_by->bytes);
  fiber.entry(fiber);
}

#if defined(__x86_64__) && !defined(EMULATOR_UCONTEXT)
// The callee-saved registers go onto the old stack and come from the new one. The floating-point control words are
// the same on all fibers.
asm(R"(
.text
.p2align 4
.type fastcnn_emulator_switch,@function
fastcnn_emulator_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size fastcnn_emulator_switch,.-fastcnn_emulator_switch
)");
extern "C" __attribute__((visibility("hidden"))) void fastcnn_emulator_switch(void** save, void* to);

static void set_up(Fiber& fiber) {
  auto* top = reinterpret_cast<void**>(reinterpret_cast<uintptr_t>(fiber.stack) + fiber.bytes);
  std::fill(top - 8, top, nullptr);  // six registers, begin, its return address: as by a call
  top[-2] = reinterpret_cast<void*>(&begin);
  fiber.context = top - 8;
}
static void jump(Fiber& from, Fiber& to) { fastcnn_emulator_switch(&from.context, to.context); }
#else
static ucontext_t* context_of(Fiber& fiber) {
  if (!fiber.context) fiber.context = new ucontext_t;
  return static_cast<ucontext_t*>(fiber.context);
}
static void set_up(Fiber& fiber) {
  ucontext_t* context = context_of(fiber);
  getcontext(context);
  context->uc_stack.ss_sp = const_cast<void*>(fiber.stack);
  context->uc_stack.ss_size = fiber.bytes;
  context->uc_link = nullptr;
  makecontext(context, &begin, 0);
}
static void jump(Fiber& from, Fiber& to) { swapcontext(context_of(from), context_of(to)); }
#endif

bool make_fiber(Fiber& fiber, void (*entry)(Fiber&)) {
  if (!fiber.stack) {
    void* map = mmap(nullptr, kGuard + kStack, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (map == MAP_FAILED) return false;
    mprotect(map, kGuard, PROT_NONE);
    fiber.stack = static_cast<char*>(map) + kGuard;
    fiber.bytes = kStack;
  }
  asan::unpoison(fiber.stack, fiber.bytes);  // red zones of frames that were never left
  fiber.entry = entry;
  fiber.fake_stack = nullptr;
  set_up(fiber);
  return true;
}

void switch_fiber(Fiber& from, Fiber& to, bool for_good) {
  entering = &to;
  to.resumed_by = &from;
  if (asan::kOn) __sanitizer_start_switch_fiber(for_good ? nullptr : &from.fake_stack, to.stack, to.bytes);
  jump(from, to);
  if (asan::kOn)
    __sanitizer_finish_switch_fiber(from.fake_stack, &from.resumed_by->stack, &from.resumed_by->bytes);
}

}  // namespace emu
