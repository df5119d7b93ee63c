// The sticky error and its text. A kernel's error stays, as on a card, where only the end of the process helps.
#include <mutex>

#include "emulator/core.h"

namespace emu {
namespace {

std::mutex mutex;
std::string last_text;
cudaError_t first_sticky = cudaSuccess;
thread_local cudaError_t last = cudaSuccess;

}  // namespace

cudaError_t refuse(cudaError_t code, const std::string& text, bool stays) {
  std::lock_guard<std::mutex> lock(mutex);
  if (first_sticky != cudaSuccess) return first_sticky;
  (stays ? first_sticky : last) = code;
  last_text = text;
  return code;
}

cudaError_t sticky() {
  std::lock_guard<std::mutex> lock(mutex);
  return first_sticky;
}

std::string error_text() {
  std::lock_guard<std::mutex> lock(mutex);
  return last_text;
}

void reset_errors() {
  std::lock_guard<std::mutex> lock(mutex);
  first_sticky = last = cudaSuccess;
  last_text.clear();
}

std::ostream& operator<<(std::ostream& out, Site site) {
  return out << (site.file ? site.file : "?") << ":" << site.line;
}
std::ostream& operator<<(std::ostream& out, uint3 v) {
  return out << "(" << v.x << "," << v.y << "," << v.z << ")";
}

}  // namespace emu

cudaError_t cudaGetLastError() {
  const cudaError_t s = emu::sticky(), last = emu::last;
  emu::last = cudaSuccess;
  return s != cudaSuccess ? s : last;
}

const char* cudaGetErrorName(cudaError_t code) {
#define EMULATOR_ROW(name, number) \
  if (code == number) return "cuda" #name;
  EMULATOR_ERRORS(EMULATOR_ROW)
  return "unrecognized error code";
}
const char* cudaGetErrorString(cudaError_t code) { return cudaGetErrorName(code); }
