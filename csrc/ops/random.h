// Tensors of random numbers, and ops that multiply by random numbers. Keys come from fastcnn.random.Generator.
#pragma once

#include "common/random.h"
#include "ops/context.h"

namespace fastcnn::ops {

// ---- fresh tensors; `host` is the CPU or its twin in a dry run: move what was drawn there with `to` ----
Tensor random_uniform(const Dims& shape, DType dtype, double low, double high, const RandomKey& key,
                      Device device);
Tensor random_normal(const Dims& shape, DType dtype, double mean, double deviation, const RandomKey& key,
                     Device device);
/// int64 in [low, high)
Tensor random_integers(const Dims& shape, int64_t low, int64_t high, const RandomKey& key, Device device);
Tensor random_permutation(int64_t n, const RandomKey& key, Device host);
/// 1 with the probability given by each element of p (CPU), else 0, in p's dtype.
Tensor bernoulli(const Tensor& p, const RandomKey& key);

// ---- any device ----
/// x * (1 + deviation * z)
Tensor gaussian_scale(const Tensor& x, double deviation, const RandomKey& key);
/// x where `sign` > 0, else x times a slope from U(low, high); backward passes dy as x.
Tensor rrelu_scale(const Tensor& x, const Tensor& sign, double low, double high, const RandomKey& key);

}  // namespace fastcnn::ops
