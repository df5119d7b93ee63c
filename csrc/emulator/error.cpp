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

void set_sticky(cudaError_t code, const std::string& text) {
  std::lock_guard<std::mutex> lock(mutex);
  if (first_sticky != cudaSuccess) return;
  first_sticky = code;
  last_text = text;
}

cudaError_t sticky() {
  std::lock_guard<std::mutex> lock(mutex);
  return first_sticky;
}

cudaError_t refuse(cudaError_t code, const std::string& text) {
  std::lock_guard<std::mutex> lock(mutex);
  if (first_sticky != cudaSuccess) return first_sticky;
  last = code;
  last_text = text;
  return code;
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

#define EMULATOR_ROW(name, code, text) {code, "cuda" #name, text},
static const struct {
  int code;
  const char *name, *text;
} kErrors[] = {EMULATOR_ERRORS(EMULATOR_ROW){-1, "unrecognized error code", "unrecognized error code"}};
static const auto& row_of(cudaError_t code) {
  size_t i = 0;
  while (kErrors[i].code != code && kErrors[i].code >= 0) ++i;
  return kErrors[i];
}
const char* cudaGetErrorName(cudaError_t code) { return row_of(code).name; }
const char* cudaGetErrorString(cudaError_t code) { return row_of(code).text; }
