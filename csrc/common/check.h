// Errors. Every user-facing message has the form
//   "op: what was wrong, got <values>, expected <values>; <smallest change that works>".
// The library never prints, exits or aborts: it throws one of these types, which the bindings map
// to ValueError, TypeError, IndexError, OutOfMemoryError(MemoryError) and DeviceError(RuntimeError).
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

namespace fastcnn {

struct ValueError : std::invalid_argument {
  using std::invalid_argument::invalid_argument;
};
struct TypeError : std::invalid_argument {
  using std::invalid_argument::invalid_argument;
};
struct IndexError : std::out_of_range {
  using std::out_of_range::out_of_range;
};
struct DeviceError : std::runtime_error {
  using std::runtime_error::runtime_error;
};
struct OutOfMemoryError : std::runtime_error {
  using std::runtime_error::runtime_error;
};
/// Ctrl-C was pressed while a kernel ran; the Python exception is already set.
struct Interrupted : std::exception {};

/// Glues its arguments into one string: str("got ", 3, ", expected ", 4).
template <class... Parts>
std::string str(const Parts&... parts) {
  std::ostringstream out;
  (void)(out << ... << parts);
  return out.str();
}

template <class Error = ValueError, class... Parts>
[[noreturn]] void fail(const Parts&... parts) {
  throw Error(str(parts...));
}

}  // namespace fastcnn

/// Throws ValueError with the glued message unless `cond` holds. The message is built only on failure.
#define FC_CHECK(cond, ...)                                           \
  do {                                                                \
    if (!(cond)) ::fastcnn::fail<::fastcnn::ValueError>(__VA_ARGS__); \
  } while (0)
#define FC_CHECK_TYPE(cond, ...)                                     \
  do {                                                               \
    if (!(cond)) ::fastcnn::fail<::fastcnn::TypeError>(__VA_ARGS__); \
  } while (0)
