// Everything that is compiled once per instruction set. isa_<name>.cpp defines three macros and includes
// this:
//   FC_ISA       namespace: baseline, avx2, avx512, neon
//   FC_ISA_NAME  the same as text
//   FC_VEC_...   which block of vec.h
//
// To add a family of kernels, say `relu`:
//   relu.h     struct ReluKernels { void (*forward)(const float* x, float* y, int64_t count); ... };
//              in namespace fastcnn::cpu: plain C types and function pointers, no code
//   table.h    one #include and one member: ReluKernels relu;
//   relu.inl   #include "cpu/kernels/relu.h" and "cpu/kernels/vec.h";
//              namespace fastcnn::cpu::FC_ISA { namespace {
//                void relu_forward(...) { ... }                  // vec.h, or a plain loop if it vectorises
//                constexpr ReluKernels kRelu = {relu_forward, ...};
//              } }
//   here       one #include and one entry in the table below, in the order of table.h
// Callers write kernels().relu.forward(x, y, count) (cpu/isa.h), outside of these files.
//
// Rules, because these files are compiled with instructions that the machine may lack: everything in the
// anonymous namespace of FC_ISA; no std:: templates, no inline functions or static objects from headers, no
// exceptions, no allocation (the linker could keep the wide copy of a shared function for everyone; a static
// initialiser would run at import). <stdint.h>, <math.h> functions and builtins are fine.
// Flags: -O3 -ffp-contract=off and the ISA's -m flags. Contraction is off so that the bits of an element do
// not depend on which loop (vector body or tail, whole tile or edge) computed it; write vfma where you want
// it.
#pragma once

#include "cpu/kernels/axis_map_table.inl"
#include "cpu/kernels/depthwise.inl"
#include "cpu/kernels/dropout_table.inl"
#include "cpu/kernels/gather.inl"
#include "cpu/kernels/gemm.inl"
#include "cpu/kernels/norm_table.inl"
#include "cpu/kernels/optim_table.inl"
#include "cpu/kernels/pack.inl"
#include "cpu/kernels/peak.inl"
#include "cpu/kernels/pointwise_table.inl"
#include "cpu/kernels/pool_table.inl"
#include "cpu/kernels/reduce.inl"
#include "cpu/kernels/row_norm_table.inl"
#include "cpu/kernels/softmax_table.inl"
#include "cpu/kernels/table.h"
#include "cpu/kernels/transpose.inl"
#include "cpu/kernels/vec.h"
#include "cpu/kernels/winograd.inl"

namespace fastcnn::cpu::FC_ISA {

const Kernels* table();
const Kernels* table() {
  // clang-format off: one line per family
  static constexpr Kernels kTable = {
      FC_ISA_NAME,
      kGemm,
      kPack,
      kPointwise,
      kDropout,
      kNorm,
      kGather,
      kDepthwise,
      kOptim,
      kPool,
      kPeak,
      kAxisMap,
      kWinograd,
      kTranspose,
      kSoftmax,
      kRowNorm,
      kReduce,
  };
  // clang-format on
  return &kTable;
}

}  // namespace fastcnn::cpu::FC_ISA
