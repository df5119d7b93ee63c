#include "emulator/fiber.h"

#include <sys/mman.h>

#include <cstdint>

#include "emulator/sanitizers.h"

#if !defined(__x86_64__) && !defined(EMULATOR_UCONTEXT)
#define EMULATOR_UCONTEXT
#endif
#if defined(EMULATOR_UCONTEXT)
#include <ucontext.h>
#endif

#if !defined(EMULATOR_UCONTEXT)
// The callee-saved registers go onto the old stack and come from the new one. The floating-point control words are
// the same on all fibers. A new stack holds entry in r13 and its argument in r12.
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
.p2align 4
.type fastcnn_emulator_enter,@function
fastcnn_emulator_enter:
  movq %r12, %rdi
  callq *%r13
  ud2
.size fastcnn_emulator_enter,.-fastcnn_emulator_enter
)");
extern "C" {
__attribute__((visibility("hidden"))) void fastcnn_emulator_switch(void** save, void* to);
__attribute__((visibility("hidden"))) void fastcnn_emulator_enter();
}
#endif

namespace emu {
namespace {

constexpr size_t kGuard = 4096;
constexpr size_t kStack = asan::kOn || tsan::kOn ? 256 << 10 : 64 << 10;

/// Every fiber begins here.
void begin(Fiber* fiber) {
  asan::arrive(nullptr, &fiber->resumed_by->stack, &fiber->resumed_by->bytes);
  fiber->entry(*fiber);
}

#if defined(EMULATOR_UCONTEXT)
void enter(unsigned high, unsigned low) {
  begin(reinterpret_cast<Fiber*>(static_cast<uintptr_t>(high) << 32 | low));
}
ucontext_t* context_of(Fiber& fiber) {
  if (!fiber.context) fiber.context = new ucontext_t;
  return static_cast<ucontext_t*>(fiber.context);
}
void set_up(Fiber& fiber) {
  ucontext_t* context = context_of(fiber);
  getcontext(context);
  context->uc_stack.ss_sp = const_cast<void*>(fiber.stack);
  context->uc_stack.ss_size = fiber.bytes;
  context->uc_link = nullptr;
  const auto address = reinterpret_cast<uintptr_t>(&fiber);
  makecontext(context, reinterpret_cast<void (*)()>(&enter), 2, static_cast<unsigned>(address >> 32),
              static_cast<unsigned>(address));
}
void jump(Fiber& from, Fiber& to) { swapcontext(context_of(from), context_of(to)); }
#else
void set_up(Fiber& fiber) {
  auto* top = reinterpret_cast<void**>(reinterpret_cast<uintptr_t>(fiber.stack) + fiber.bytes);
  *--top = nullptr;  // keeps the stack of the entry aligned and ends a debugger's walk
  *--top = nullptr;
  *--top = reinterpret_cast<void*>(&fastcnn_emulator_enter);
  *--top = nullptr;                          // rbp
  *--top = nullptr;                          // rbx
  *--top = &fiber;                           // r12
  *--top = reinterpret_cast<void*>(&begin);  // r13
  *--top = nullptr;                          // r14
  *--top = nullptr;                          // r15
  fiber.context = top;
}
void jump(Fiber& from, Fiber& to) { fastcnn_emulator_switch(&from.context, to.context); }
#endif

}  // namespace

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

void switch_fiber(Fiber& from, Fiber& to) {
  to.resumed_by = &from;
  asan::leave(&from.fake_stack, to.stack, to.bytes);
  jump(from, to);
  asan::arrive(from.fake_stack, &from.resumed_by->stack, &from.resumed_by->bytes);
}

void abandon_fiber(Fiber& from, Fiber& to) {
  to.resumed_by = &from;
  asan::leave(nullptr, to.stack, to.bytes);
  jump(from, to);
}

}  // namespace emu
