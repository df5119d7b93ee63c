// Fibers by themselves: values survive switches on many stacks, and an abandoned one can be made anew. Built twice:
// with the switch in assembly and with ucontext.
#include <cstdint>
#include <vector>

#include "check.h"
#include "emulator/fiber.h"

namespace {

emu::Fiber host;
std::vector<emu::Fiber> fibers(20);
std::vector<int> log_of_turns;
int rounds = 5;

/// Uses registers, floating point and some stack across switches.
void entry(emu::Fiber& self) {
  const auto me = static_cast<int>(&self - fibers.data());
  double sum = me;
  volatile char stack[2000];
  for (size_t i = 0; i < sizeof stack; ++i) stack[i] = static_cast<char>(me);
  for (int r = 0;; ++r) {
    log_of_turns.push_back(me * 100 + r);
    sum += 0.5;
    CHECK(reinterpret_cast<uintptr_t>(__builtin_frame_address(0)) % 16 == 0);
    const bool last = me + 1 == static_cast<int>(fibers.size());
    emu::switch_fiber(self, last ? host : fibers[static_cast<size_t>(me) + 1]);
    for (char c : stack) {
      if (c != static_cast<char>(me)) CHECK(c == me);
    }
    CHECK(sum == me + 0.5 * (r + 1));
  }
}

void abandoning(emu::Fiber& self) {
  volatile char stack[500];
  stack[0] = 1;
  log_of_turns.push_back(-1 - stack[0]);
  emu::switch_fiber(self, host, true);
}

}  // namespace

int main() {
  for (auto& f : fibers) CHECK(emu::make_fiber(f, entry));
  for (int r = 0; r < rounds; ++r) emu::switch_fiber(host, fibers[0]);
  CHECK(log_of_turns.size() == fibers.size() * static_cast<size_t>(rounds));
  for (size_t i = 0; i < log_of_turns.size(); ++i) {
    CHECK(log_of_turns[i] == static_cast<int>(i % fibers.size() * 100 + i / fibers.size()));
  }
  for (int r = 0; r < 3; ++r) {  // a stack that was left in the middle is used again
    CHECK(emu::make_fiber(fibers[1], abandoning));
    emu::switch_fiber(host, fibers[1]);
    CHECK(log_of_turns.back() == -2);
  }
  return test::report("fibers");
}
