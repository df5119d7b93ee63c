#include "ops/random.h"

#include <algorithm>

#include "cpu/random.h"
#include "cuda/random.h"
#include "ops/elementwise.h"

namespace fastcnn::ops {

namespace {

RandomFillParams fill_params(RandomFillParams::Kind kind, const Tensor& y, const RandomKey& key) {
  RandomFillParams p{};
  p.kind = kind;
  p.dtype = y.dtype;
  p.count = y.numel();
  p.y = y.raw();
  p.key = RandomKey{key.seed, key.call, 0};  // initial values know no batch
  return p;
}

Tensor scale(const char* op, RandomScaleParams::Kind kind, const Tensor& x, const Tensor& sign, double a,
             double b, const RandomKey& key) {
  const OpScope scope(op);
  check_float(op, x);
  check_same_device(op, {&x, &sign});
  check_same_dtype(op, {&x, &sign});
  FC_CHECK(x.shape == sign.shape, op, ": shapes differ, got ", to_string(x.shape), " and ",
           to_string(sign.shape));
  Tensor y = empty_like(x);
  if (y.numel() == 0) return y;
  RandomScaleParams p{};
  p.kind = kind;
  p.dtype = x.dtype;
  p.ndim = x.ndim();
  std::copy(x.shape.begin(), x.shape.end(), p.shape);
  std::copy(x.strides.begin(), x.strides.end(), p.x_strides);
  std::copy(y.strides.begin(), y.strides.end(), p.y_strides);
  std::copy(sign.strides.begin(), sign.strides.end(), p.sign_strides);
  p.x = x.raw();
  p.y = y.raw();
  p.sign = sign.raw();
  p.key = key;
  p.a = a;
  p.b = b;
  launch(context_of(x), op, p, cpu::random_scale, FC_CUDA(random_scale));
  return y;
}

}  // namespace

Tensor random_uniform(const Dims& shape, DType dtype, double low, double high, const RandomKey& key,
                      Device device) {
  const OpScope scope("rand");
  Tensor y = empty(shape, dtype, device);
  check_float("rand", y);
  RandomFillParams p = fill_params(RandomFillParams::uniform, y, key);
  p.low = low;
  p.high = high;
  if (y.numel() > 0) launch(context_of(y), "rand", p, cpu::random_fill, FC_CUDA(random_fill));
  return y;
}

Tensor random_normal(const Dims& shape, DType dtype, double mean, double deviation, const RandomKey& key,
                     Device device) {
  const OpScope scope("randn");
  Tensor y = empty(shape, dtype, device);
  check_float("randn", y);
  RandomFillParams p = fill_params(RandomFillParams::normal, y, key);
  p.low = mean;
  p.high = deviation;
  launch(context_of(y), "randn", p, cpu::random_fill, FC_CUDA(random_fill));
  return y;
}

Tensor random_integers(const Dims& shape, int64_t low, int64_t high, const RandomKey& key, Device device) {
  const OpScope scope("randint");
  FC_CHECK(low < high, "randint: got low ", low, " and high ", high, ", expected low < high");
  Tensor y = empty(shape, DType::int64, device);
  RandomFillParams p = fill_params(RandomFillParams::integer, y, key);
  p.first = low;
  p.range = uint64_t(high) - uint64_t(low);
  if (y.numel() > 0) launch(context_of(y), "randint", p, cpu::random_fill, FC_CUDA(random_fill));
  return y;
}

Tensor random_permutation(int64_t n, const RandomKey& key, Device host) {
  const OpScope scope("randperm");
  FC_CHECK(n >= 0, "randperm: n is ", n, ", expected a number >= 0");
  Tensor y = empty({n}, DType::int64, host);
  if (!host.is_meta()) cpu::random_permutation(y.data<int64_t>(), n, RandomKey{key.seed, key.call, 0});
  return y;
}

Tensor bernoulli(const Tensor& share, const RandomKey& key) {
  const OpScope scope("bernoulli");
  check_float("bernoulli", share);
  const Tensor dense = contiguous(share, false);
  // A card would have to be waited for: there, such an element gives NaN.
  const bool fits = share.device() != Device{} || dispatch_float(share.dtype, "bernoulli", [&](auto type) {
                      using T = typename decltype(type)::type;
                      return std::all_of(dense.data<T>(), dense.data<T>() + dense.numel(), [](T v) {
                        return Accumulator<T>(v) >= 0 && Accumulator<T>(v) <= 1;
                      });
                    });
  FC_CHECK(fits, "bernoulli: a probability is outside of [0, 1] or NaN");
  Tensor y = empty(share.shape, share.dtype, share.device());
  RandomFillParams p = fill_params(RandomFillParams::bernoulli, y, key);
  p.p = dense.raw();
  launch(context_of(y), "bernoulli", p, cpu::random_fill, FC_CUDA(random_fill));
  return y;
}

Tensor gaussian_scale(const Tensor& x, double deviation, const RandomKey& key) {
  return scale("gaussian_dropout", RandomScaleParams::gaussian, x, x, deviation, 0, key);
}
Tensor rrelu_scale(const Tensor& x, const Tensor& sign, double low, double high, const RandomKey& key) {
  return scale("rrelu", RandomScaleParams::rrelu, x, sign, low, high, key);
}

}  // namespace fastcnn::ops
