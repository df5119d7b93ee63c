// A worker's arena of shared memory: variables at multiples of 128 bytes, so that their banks are those of the card,
// NaN-filled for each block, with a red zone behind each.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "emulator/thread.h"

namespace emu {

class Shared {
 public:
  Shared();
  /// Begins a block: forgets the variables, fills the dynamic part.
  void open(size_t dynamic_bytes, size_t limit);
  /// Ends it: text of an error if a red zone was written to, else "".
  std::string close();

  void* dynamic() { return arena_; }
  /// Null if the variables exceed the limit of the launch.
  void* variable(const void* key, size_t bytes, const char* name, Site site);
  size_t limit() const { return limit_; }
  size_t used() const { return used_; }

  bool holds(const void* p) const { return p >= arena_ && p < arena_ + kBytes; }
  /// "" if all bytes lie in one variable, else what is wrong.
  std::string complaint(const void* p, size_t bytes) const;
  size_t offset(const void* p) const { return static_cast<size_t>(static_cast<const char*>(p) - arena_); }

 private:
  static constexpr size_t kBytes = 512 << 10, kZone = 128;
  struct Variable {
    const void* key;
    const char* name;
    Site site;
    size_t offset, bytes;
  };
  void* place(const void* key, size_t bytes, const char* name, Site site);

  std::unique_ptr<char[]> memory_;
  char* arena_;
  std::vector<Variable> variables_;
  size_t top_ = 0, used_ = 0, limit_ = 0;
};

}  // namespace emu
