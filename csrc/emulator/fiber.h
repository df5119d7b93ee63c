// Fibers: stacks that an OS thread changes between without the kernel of the system. About 3 ns a switch on x86-64,
// ucontext (0.3 us) elsewhere or with EMULATOR_UCONTEXT.
#pragma once

#include <cstddef>

namespace emu {

struct Fiber {
  void* context = nullptr;      // saved stack pointer, or a ucontext_t
  const void* stack = nullptr;  // lowest address; for the OS thread's own stack filled in by AddressSanitizer
  size_t bytes = 0;
  void (*entry)(Fiber&) = nullptr;
  void* fake_stack = nullptr;  // AddressSanitizer's
  Fiber* resumed_by = nullptr;
};

/// Gives the fiber a stack (with a page below it that may not be touched) if it has none, and makes the next switch
/// to it call entry(fiber), which must not return. What was running on it is forgotten without unwinding.
/// False if there is no memory.
bool make_fiber(Fiber& fiber, void (*entry)(Fiber&));

/// Saves the running fiber in `from` and goes on with `to`; returns when something switches back. `for_good`: nothing
/// will before another make_fiber of `from`.
void switch_fiber(Fiber& from, Fiber& to, bool for_good = false);

}  // namespace emu
