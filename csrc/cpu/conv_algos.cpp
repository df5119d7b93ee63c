#include "cpu/conv_algos.h"

namespace fastcnn::cpu {

const std::vector<ConvAlgo>& conv_algos() {
  // The last row takes everything with 0 bytes of workspace. Never destroyed: threads may outlive statics.
  static const auto* table = new std::vector<ConvAlgo>{
      {"direct", conv_direct_unsupported, conv_direct_workspace_bytes, conv_direct_cost, conv_direct_run},
  };
  return *table;
}

}  // namespace fastcnn::cpu
