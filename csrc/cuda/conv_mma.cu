// implicit_gemm_mma: float16 and bfloat16 operands.
#include "cuda/conv_mma_run.cuh"

namespace fastcnn::cuda {

void conv_mma_run(const ConvArgs& args, Pass pass, void* stream) {
  if (args.problem->dtype == DType::float16) return conv_mma<Mma16<__half>>(args, pass, stream);
  conv_mma<Mma16<__nv_bfloat16>>(args, pass, stream);
}

}  // namespace fastcnn::cuda
