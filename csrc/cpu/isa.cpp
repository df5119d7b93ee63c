// Picks the kernel table once, from what the CPU has (cpuid) and the OS saves on a context switch (xgetbv).
#include "cpu/isa.h"

#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <fstream>

#include "common/check.h"
#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace fastcnn::cpu {

// One per kernels/isa_<name>.cpp; FC_BUILT_<NAME> says which are in the build, the weakest always is.
#if defined(__x86_64__)
namespace baseline {
const Kernels* table();
}
namespace avx2 {
const Kernels* table();
}
namespace avx512 {
const Kernels* table();
}
#elif defined(__aarch64__)
namespace neon {
const Kernels* table();
}
#else
#error "fastcnn has kernels for x86-64 and aarch64 only"
#endif

namespace {

#if defined(__x86_64__)
bool all(unsigned word, std::initializer_list<int> bits) {
  for (int b : bits)
    if (!(word >> b & 1u)) return false;
  return true;
}

/// The extended control register: which register files the OS saves.
unsigned xcr0() {
  unsigned low, high;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return low;
}
#endif

/// Those that can run here, weakest first.
std::vector<const Kernels*> find_tables() {
  std::vector<const Kernels*> found;
#if defined(__x86_64__)
  unsigned a, b, c = 0, d, b7 = 0, c7, d7;
  __get_cpuid(1, &a, &b, &c, &d);
  __get_cpuid_count(7, 0, &a, &b7, &c7, &d7);
  // SSE3, SSSE3, CMPXCHG16B, SSE4.1, SSE4.2, POPCNT
  if (!all(c, {0, 9, 13, 19, 20, 23})) return found;
  found.push_back(baseline::table());
  [[maybe_unused]] const unsigned saved = all(c, {27}) ? xcr0() : 0;  // OSXSAVE
  // AVX, FMA, F16C; AVX2; xmm and ymm saved
  if (!all(c, {28, 12, 29}) || !all(b7, {5}) || (saved & 0x6) != 0x6) return found;
#if defined(FC_BUILT_AVX2)
  found.push_back(avx2::table());
#endif
  // AVX-512 F, DQ, CD, BW, VL; opmask and zmm saved
#if defined(FC_BUILT_AVX512)
  if (all(b7, {16, 17, 28, 30, 31}) && (saved & 0xe6) == 0xe6) found.push_back(avx512::table());
#endif
#else
  found.push_back(neon::table());
#endif
  return found;
}

const std::vector<const Kernels*>& tables() {
  static const std::vector<const Kernels*> found = find_tables();
  FC_CHECK(!found.empty(), "fastcnn: this CPU lacks the x86-64-v2 instructions (SSE4.2, POPCNT), got ",
           cpu_facts().model, ", expected a CPU of about 2009 or later");
  return found;
}

const Kernels* find(const std::string& name, const char* what) {
  std::string names;
  for (const Kernels* k : tables()) {
    if (name == k->isa) return k;
    names += str(names.empty() ? "" : ", ", '"', k->isa, '"');
  }
  fail<ValueError>(what, ": this machine cannot run it, got \"", name, "\", expected one of ", names);
}

std::atomic<const Kernels*> g_kernels{nullptr};

/// The first use decides; an unusable FASTCNN_ISA is reported on every use, never at import.
const Kernels* choose() {
  const char* forced = std::getenv("FASTCNN_ISA");
  const Kernels* chosen = forced && *forced ? find(forced, "FASTCNN_ISA") : tables().back();
  const Kernels* expected = nullptr;
  return g_kernels.compare_exchange_strong(expected, chosen) ? chosen : expected;
}

std::string read_model() {
#if defined(__x86_64__)
  unsigned words[12] = {}, top = 0, b, c, d;
  if (__get_cpuid(0x80000000u, &top, &b, &c, &d) && top >= 0x80000004u) {
    for (unsigned i = 0; i < 3; ++i) {
      unsigned* w = words + 4 * i;
      __get_cpuid(0x80000002u + i, w, w + 1, w + 2, w + 3);
    }
    char text[49] = {};
    std::memcpy(text, words, 48);
    std::string model(text);
    const size_t first = model.find_first_not_of(' '), last = model.find_last_not_of(' ');
    if (first != std::string::npos) return model.substr(first, last - first + 1);
  }
  return "x86-64";
#else
  return "aarch64";
#endif
}

/// Bytes of the data or unified cache of this level: from the C library, else from sysfs, else `fallback`.
long read_cache(int level, int sysconf_name, long fallback) {
  const long bytes = sysconf(sysconf_name);
  if (bytes > 0) return bytes;
  for (int i = 0; i < 8; ++i) {
    const std::string dir = str("/sys/devices/system/cpu/cpu0/cache/index", i, "/");
    std::string found_level, type, size;
    std::ifstream(dir + "level") >> found_level;
    std::ifstream(dir + "type") >> type;
    std::ifstream(dir + "size") >> size;
    if (found_level != str(level) || type == "Instruction" || size.empty()) continue;
    const long n = std::strtol(size.c_str(), nullptr, 10);
    if (n > 0) return size.back() == 'M' ? n << 20 : size.back() == 'K' ? n << 10 : n;
  }
  return fallback;
}

}  // namespace

const Kernels& kernels() {
  const Kernels* k = g_kernels.load(std::memory_order_acquire);
  return k ? *k : *choose();
}

const char* isa_name() { return kernels().isa; }

std::vector<std::string> available_isas() {
  std::vector<std::string> names;
  for (const Kernels* k : tables()) names.push_back(k->isa);
  return names;
}

void set_isa(const std::string& name) { g_kernels.store(find(name, "set_isa"), std::memory_order_release); }

const CpuFacts& cpu_facts() {
  static const CpuFacts facts = {read_model(), read_cache(1, _SC_LEVEL1_DCACHE_SIZE, 32 << 10),
                                 read_cache(2, _SC_LEVEL2_CACHE_SIZE, 1 << 20),
                                 read_cache(3, _SC_LEVEL3_CACHE_SIZE, 16 << 20)};
  return facts;
}

}  // namespace fastcnn::cpu
