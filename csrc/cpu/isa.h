// Which instruction set runs. Kernel sources (kernels/*.inl) are compiled once per ISA; the table of the best
// one that this CPU and OS can run (cpuid and xgetbv) is chosen once. FASTCNN_ISA=baseline|avx2|avx512|neon
// forces one; set_isa changes it in-process (tests).
#pragma once

#include <string>
#include <vector>

#include "cpu/kernels/table.h"

namespace fastcnn::cpu {

/// The kernels of the ISA in force.
const Kernels& kernels();
/// "baseline", "avx2", "avx512" or "neon".
const char* isa_name();
/// Those compiled in that this machine can run, weakest first.
std::vector<std::string> available_isas();
/// ValueError naming the available ones if `name` cannot run here.
void set_isa(const std::string& name);
/// CPU model name and data cache sizes, for `fastcnn info` and the planner.
struct CpuFacts {
  std::string model;
  long l1_bytes, l2_bytes, l3_bytes;
};
const CpuFacts& cpu_facts();

}  // namespace fastcnn::cpu
