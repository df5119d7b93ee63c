// The suite of planted bugs: each must be shown, by the means that the table names for this build, in a process of
// its own; the legal kernels must not be. Prints the table. `test_bugs <n>` runs one.
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "bugs.h"
#include "common/check.h"

namespace {

#if defined(__SANITIZE_THREAD__)
const char* const kBuild = "thread";
#elif defined(__SANITIZE_ADDRESS__)
const char* const kBuild = "address,undefined";
#else
const char* const kBuild = "none";
#endif
const char* expected(const bugs::Bug& b) {
  return !std::strcmp(kBuild, "thread") ? b.tsan : !std::strcmp(kBuild, "none") ? b.plain : b.asan;
}

std::vector<bugs::Bug> all() {
  std::vector<bugs::Bug> list = bugs::sync_bugs();
  for (auto&& b : bugs::memory_bugs()) list.push_back(b);
  return list;
}

/// In the child: the first order of threads that shows something decides.
int run(const bugs::Bug& bug) {
  std::string verdict = "-";
  test::in_all_orders([&] {
    if (verdict != "-") return;
    try {
      const std::vector<float> got = bug.run();
      for (size_t i = 0; i < got.size() && i < bug.want.size(); ++i) {
        if (std::isnan(got[i])) verdict = "NaN";
        if (verdict == "-" && got[i] != bug.want[i]) verdict = "wrong";
      }
      if (bug.want.empty()) {
        for (float f : got) verdict = std::isnan(f) ? "NaN" : verdict;
      }
    } catch (const std::exception& e) {
      const std::string text = e.what();
      verdict = *bug.says && text.find(bug.says) != std::string::npos ? "error" : "error with another text";
      std::printf("%s\n", e.what());
    }
  });
  std::printf("verdict: %s\n", verdict.c_str());
  return 0;
}

std::string judge(const std::string& program, size_t n) {
  const std::string command =
      "ASAN_OPTIONS=detect_leaks=0 TSAN_OPTIONS=halt_on_error=1:atexit_sleep_ms=0 timeout 60 '" + program +
      "' " + std::to_string(n) + " 2>&1";
  FILE* pipe = popen(command.c_str(), "r");
  std::string out;
  for (int c; (c = std::fgetc(pipe)) != EOF;) out += static_cast<char>(c);
  pclose(pipe);
  if (out.find("ERROR: AddressSanitizer") != std::string::npos) return "asan";
  if (out.find("runtime error: ") != std::string::npos) return "ubsan";
  if (out.find("WARNING: ThreadSanitizer") != std::string::npos) return "tsan";
  const size_t at = out.find("verdict: ");
  if (at == std::string::npos) return "crash:\n" + out;
  std::string verdict = out.substr(at + 9, out.find('\n', at) - at - 9);
  if (verdict == "error with another text") verdict += ":\n" + out;
  return verdict;
}

}  // namespace

int main(int argc, char** argv) {
  const auto list = all();
  if (argc > 1) return run(list.at(std::strtoul(argv[1], nullptr, 10)));
  std::printf(
      "sanitizers: %s\n| planted bug | plain | address,undefined | thread | here |\n|---|---|---|---|---|\n",
      kBuild);
  size_t shown_somewhere = 0;
  for (size_t i = 0; i < list.size(); ++i) {
    const bugs::Bug& b = list[i];
    const std::string got = judge(argv[0], i);
    std::printf("| %s | %s | %s | %s | %s |\n", b.name, b.plain, b.asan, b.tsan, got.c_str());
    CHECK(got == expected(b));
    const bool is_legal = std::strncmp(b.name, "legal", 5) == 0;
    const bool shown = std::strcmp(b.plain, "-") || std::strcmp(b.asan, "-") || std::strcmp(b.tsan, "-");
    CHECK(shown != is_legal);
    shown_somewhere += shown;
  }
  std::printf("%zu bugs\n", shown_somewhere);
  CHECK(shown_somewhere >= 24);
  return test::report("planted bugs");
}
