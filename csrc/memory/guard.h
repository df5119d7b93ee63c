// What the guard writes into blocks, and the marks for AddressSanitizer. A build with -fsanitize=address
// poisons all memory outside live requests, so that it reports the very instruction that strays; the guard
// works in every build, and reports at the block's end.
#pragma once

#include <cstddef>
#include <cstring>

#if defined(__SANITIZE_ADDRESS__)
#define FC_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define FC_ASAN 1
#endif
#endif
#ifdef FC_ASAN
#include <sanitizer/asan_interface.h>
#endif

namespace fastcnn::guard {

// All ones is a NaN in every float dtype, and an index or label that is out of range.
constexpr unsigned char kFill = 0xFF;
constexpr unsigned char kCanary = 0xA5;

inline void poison([[maybe_unused]] const void* data, [[maybe_unused]] size_t bytes) {
#ifdef FC_ASAN
  ASAN_POISON_MEMORY_REGION(data, bytes);
#endif
}
inline void unpoison([[maybe_unused]] const void* data, [[maybe_unused]] size_t bytes) {
#ifdef FC_ASAN
  ASAN_UNPOISON_MEMORY_REGION(data, bytes);
#endif
}

/// `data` and the slack behind it are unpoisoned.
inline void fill_new(void* data, size_t requested, size_t rounded) {
  std::memset(data, kFill, requested);
  std::memset(static_cast<char*>(data) + requested, kCanary, rounded - requested);
}
inline void fill_freed(void* data, size_t rounded) { std::memset(data, kFill, rounded); }

inline bool canary_intact(const void* data, size_t requested, size_t rounded) {
  const auto* bytes = static_cast<const unsigned char*>(data);
  for (size_t i = requested; i < rounded; ++i)
    if (bytes[i] != kCanary) return false;
  return true;
}

}  // namespace fastcnn::guard
