// What this machine can do at best, measured: the yardstick of the benchmarks. Never used for decisions.
#pragma once

namespace fastcnn::cpu {

/// Multiply-adds in registers, as FLOP/s of all `num_threads()` threads together, over about `seconds`.
double measure_flops(double seconds);

}  // namespace fastcnn::cpu
