// What the convolution ops share (conv.cpp, conv_pair.cpp).
#pragma once

#include "common/norm_fold.h"
#include "ops/conv.h"

namespace fastcnn::ops {

const std::vector<ConvAlgo>& conv_table(const DeviceProps& props);
/// Tensors of one device and one float dtype, else ValueError or TypeError.
void check_conv_operands(const char* op, std::initializer_list<const Tensor*> tensors);
/// The norm's vectors, checked, and where the folded ones will be: the rows of `folded`, (2, channels). `bias` is the
/// convolution's own.
NormFoldParams conv_norm_fold(const char* op, const ConvNorm& norm, const MaybeTensor& bias,
                              const Tensor& folded);
/// "conv2d.forward": lives as long as the process.
const char* conv_scope_name(const char* op, Pass pass);
/// Whether calls of this thread may keep filters (set_keeps_filters).
bool conv_keeps_filters();

}  // namespace fastcnn::ops
