// What every ISA provides. A family adds one struct here, one .inl beside this file and one line in all.inl.
// Included by translation units compiled with wider instruction sets: plain C types only, no std:: templates,
// no inline functions with code, no static objects (the linker could keep the wide copy for everyone).
#pragma once

#include "cpu/kernels/axis_map.h"
#include "cpu/kernels/depthwise.h"
#include "cpu/kernels/dropout.h"
#include "cpu/kernels/gather.h"
#include "cpu/kernels/gemm.h"
#include "cpu/kernels/norm.h"
#include "cpu/kernels/optim.h"
#include "cpu/kernels/pack.h"
#include "cpu/kernels/peak.h"
#include "cpu/kernels/pointwise.h"
#include "cpu/kernels/pool.h"
#include "cpu/kernels/reduce.h"
#include "cpu/kernels/row_norm.h"
#include "cpu/kernels/softmax.h"
#include "cpu/kernels/transpose.h"
#include "cpu/kernels/winograd.h"

namespace fastcnn::cpu {

struct Kernels {
  const char* isa;  ///< compiled-in name of the ISA, proof in tests that the forced one ran
  GemmKernels gemm;
  PackKernels pack;
  PointwiseKernels pointwise;
  DropoutKernels dropout;
  NormKernels norm;
  GatherKernels gather;
  DepthwiseKernels depthwise;
  OptimKernels optim;
  PoolKernels pool;
  PeakKernels peak;
  AxisMapKernels axis_map;
  WinogradKernels winograd;
  TransposeKernels transpose;
  SoftmaxKernels softmax;
  RowNormKernels row_norm;
  ReduceKernels reduce;
};

}  // namespace fastcnn::cpu
