// How a planted bug is run and judged.
#pragma once

#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "cuda/ptx.cuh"
#include "cuda/vec.cuh"
#include "tools.h"

namespace bugs {

using namespace fastcnn::cuda;
using test::Device;

/// What shows a bug: an error of the emulator, NaN or another wrong result, a sanitizer's report, or nothing.
/// A bug's `run` gives the result it got; `want` is what a correct kernel would have given.
struct Bug {
  const char* name;
  const char *plain, *asan, *tsan;  // what shows it in each build; asan is address,undefined
  const char* says;                 // part of the emulator's error text
  std::function<std::vector<float>()> run;
  std::vector<float> want;
};

inline std::vector<float> constant(size_t n, float value) { return std::vector<float>(n, value); }
/// 0, 1, 2, ... or, from the end, n - 1, n - 2, ...
inline std::vector<float> counted(size_t n, bool down = false) {
  std::vector<float> v(n);
  for (size_t i = 0; i < n; ++i) v[i] = static_cast<float>(down ? n - 1 - i : i);
  return v;
}

/// Launches kernel(out, args...) on one block and gives its output of one float a thread.
template <class Kernel, class... Args>
std::vector<float> one_block(Kernel kernel, unsigned threads, const Args&... args) {
  Device<float> out(constant(threads, 0));
  launch("bug", kernel, {dim3(1), dim3(threads)}, out.p, args...);
  return out.host();
}

/// Rows whose name begins with "legal" are correct: nothing may be reported.
std::vector<Bug> sync_bugs();
std::vector<Bug> memory_bugs();

}  // namespace bugs
