// The CUDA half of the template op: a function object, and map.cuh does the rest (16 bytes a thread, the remainder).
#include "cuda/map.cuh"
#include "cuda/null_op.h"

namespace fastcnn::cuda {
namespace {

template <class T>
struct Scaled {
  Wide<T> scale;
  FC_METHOD T operator()(T x) const { return Narrow<T>::of(scale * widen(x)); }
};

}  // namespace

void null_op(const NullOpParams& p, void* stream) {
  dispatch_device_float(p.dtype, "null_op", [&](auto type) {
    using T = typename decltype(type)::type;
    Loop loop{};
    loop.ndim = 1;
    loop.numel = loop.shape[0] = p.count;
    loop.strides[0][0] = loop.strides[1][0] = 1;
    loop.data[0] = p.y;
    loop.data[1] = const_cast<void*>(p.x);  // read only
    map<T, T>("null_op", Scaled<T>{static_cast<Wide<T>>(p.scale)}, loop, static_cast<cudaStream_t>(stream));
  });
}

}  // namespace fastcnn::cuda
