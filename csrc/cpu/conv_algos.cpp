#include "cpu/conv_algos.h"

namespace fastcnn::cpu {

const std::vector<ConvAlgo>& conv_algos() {
  // The last row takes everything with 0 bytes of workspace. Never destroyed: threads may outlive statics.
  static const auto* table = new std::vector<ConvAlgo>{
      {"depthwise", conv_depthwise_unsupported, conv_depthwise_workspace_bytes, conv_depthwise_cost,
       conv_depthwise_run, 1, conv_depthwise_filters},
      {"winograd", conv_winograd_unsupported, conv_winograd_workspace_bytes, conv_winograd_cost,
       conv_winograd_run, 6, conv_winograd_filters},
      {"im2col", conv_im2col_unsupported, conv_im2col_workspace_bytes, conv_im2col_cost, conv_im2col_run, 1,
       conv_im2col_filters},
      {"planar", conv_planar_unsupported, conv_planar_workspace_bytes, conv_planar_cost, conv_planar_run, 1,
       conv_planar_filters},
      {"direct", conv_direct_unsupported, conv_direct_workspace_bytes, conv_direct_cost, conv_direct_run},
  };
  return *table;
}

}  // namespace fastcnn::cpu
