// implicit_gemm_tf32 and implicit_gemm_tf32x3: float32 operands.
#include "cuda/conv_mma_run.cuh"

namespace fastcnn::cuda {

void conv_mma_tf32_run(const ConvArgs& args, Pass pass, void* stream) { conv_mma<Tf32>(args, pass, stream); }

void conv_mma_tf32x3_run(const ConvArgs& args, Pass pass, void* stream) {
  conv_mma<Tf32x3>(args, pass, stream);
}

}  // namespace fastcnn::cuda
