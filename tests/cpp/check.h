// The smallest test harness that will do: CHECK counts failures, main returns report().
#pragma once

#include <cstdio>

namespace test {

inline int failures = 0, checks = 0;

inline int report(const char* name) {
  std::printf("%s: %d checks, %d failed\n", name, checks, failures);
  return failures || !checks ? 1 : 0;
}

}  // namespace test

#define CHECK(cond)                                                  \
  do {                                                               \
    ++test::checks;                                                  \
    if (!(cond)) {                                                   \
      ++test::failures;                                              \
      std::printf("%s:%d: failed: %s\n", __FILE__, __LINE__, #cond); \
    }                                                                \
  } while (0)
#define CHECK_THROWS(expression, Error)            \
  do {                                             \
    bool thrown = false;                           \
    try {                                          \
      expression;                                  \
    } catch (const Error&) {                       \
      thrown = true;                               \
    }                                              \
    CHECK(thrown&& #expression " throws " #Error); \
  } while (0)
