// The CPU's table of convolution algorithms. Add a row: one file conv_<name>.cpp, its functions declared here,
// one line in conv_algos.cpp. Nothing else changes: tests, bench and the estimator read the table.
#pragma once

#include "common/algo.h"

namespace fastcnn::cpu {

const std::vector<ConvAlgo>& conv_algos();

// conv_depthwise.cpp: float32, one filter per channel; some rows at a time, lanes are channels.
const char* conv_depthwise_unsupported(const ConvProblem&, Pass, const DeviceProps&);
size_t conv_depthwise_workspace_bytes(const ConvProblem&, Pass, const DeviceProps&);
double conv_depthwise_cost(const ConvProblem&, Pass, const DeviceProps&);
void conv_depthwise_run(const ConvArgs&, Pass, void* stream);
ConvFilters conv_depthwise_filters(const ConvProblem&, Pass);

// conv_im2col.cpp: float32, any geometry and fusion; packed filters and blocks of patches as workspace.
const char* conv_im2col_unsupported(const ConvProblem&, Pass, const DeviceProps&);
size_t conv_im2col_workspace_bytes(const ConvProblem&, Pass, const DeviceProps&);
double conv_im2col_cost(const ConvProblem&, Pass, const DeviceProps&);
void conv_im2col_run(const ConvArgs&, Pass, void* stream);
ConvFilters conv_im2col_filters(const ConvProblem&, Pass);

// conv_winograd.cpp: float32, 3x3 at stride 1 or 2; transformed tiles as workspace.
const char* conv_winograd_unsupported(const ConvProblem&, Pass, const DeviceProps&);
size_t conv_winograd_workspace_bytes(const ConvProblem&, Pass, const DeviceProps&);
double conv_winograd_cost(const ConvProblem&, Pass, const DeviceProps&);
void conv_winograd_run(const ConvArgs&, Pass, void* stream);
ConvFilters conv_winograd_filters(const ConvProblem&, Pass);

// conv_planar.cpp: float32 forward at stride 1 with few filters; lanes are pixels.
const char* conv_planar_unsupported(const ConvProblem&, Pass, const DeviceProps&);
size_t conv_planar_workspace_bytes(const ConvProblem&, Pass, const DeviceProps&);
double conv_planar_cost(const ConvProblem&, Pass, const DeviceProps&);
void conv_planar_run(const ConvArgs&, Pass, void* stream);
ConvFilters conv_planar_filters(const ConvProblem&, Pass);

// conv_direct.cpp: any geometry, dtype, strides and fusion; no workspace.
const char* conv_direct_unsupported(const ConvProblem&, Pass, const DeviceProps&);
size_t conv_direct_workspace_bytes(const ConvProblem&, Pass, const DeviceProps&);
double conv_direct_cost(const ConvProblem&, Pass, const DeviceProps&);
void conv_direct_run(const ConvArgs&, Pass, void* stream);

}  // namespace fastcnn::cpu
