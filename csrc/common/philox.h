// The library's one source of randomness: Philox4x32-10, a counter-based generator (Salmon, Moraes, Dror, Shaw,
// "Parallel random numbers: as easy as 1, 2, 3", SC 2011). A draw is a pure function of
//   key     = the generator's 64-bit seed
//   counter = (number of the call on that generator, sample index, block within the sample),
// so it depends on no thread, instruction set, memory order, device or launch shape, and a backward pass draws the
// same numbers again instead of saving them.
//
// THE STREAM IS FROZEN: tests hold hashes of masks and tensors. Layout of the counter, in 32-bit words:
//   c0 = block[0:32]   c1 = sample[0:32]   c2 = call[0:32]   c3 = call[32:48] | block[32:40] << 16 | sample[32:40] << 24
// which allows 2^48 calls, 2^40 samples and 2^40 blocks in a sample.
//
// Internal linkage, always inlined and plain C: kernels compiled per instruction set include this file.
#pragma once

#include <stdint.h>

#if defined(__CUDACC__)
#define FC_RANDOM_FN static inline __host__ __device__
#else
#define FC_RANDOM_FN static inline __attribute__((always_inline))
#endif

namespace fastcnn {

/// One call on a generator. Row i of a batch draws as sample first_sample + i.
struct RandomKey {
  uint64_t seed, call, first_sample;
};

struct PhiloxCounter {
  uint32_t c0, c1, c2, c3;
};
struct PhiloxBlock {
  uint32_t word[4];
};

FC_RANDOM_FN PhiloxCounter philox_counter(uint64_t call, uint64_t sample, uint64_t block) {
  return PhiloxCounter{(uint32_t)block, (uint32_t)sample, (uint32_t)call,
                       (uint32_t)((call >> 32) & 0xffffu) | ((uint32_t)(block >> 32) & 0xffu) << 16 |
                           ((uint32_t)(sample >> 32) & 0xffu) << 24};
}

constexpr uint32_t kPhiloxMultiplier0 = 0xD2511F53u, kPhiloxMultiplier1 = 0xCD9E8D57u;
constexpr uint32_t kPhiloxWeyl0 = 0x9E3779B9u, kPhiloxWeyl1 = 0xBB67AE85u;
constexpr int kPhiloxRounds = 10;

FC_RANDOM_FN void philox_round(uint32_t& c0, uint32_t& c1, uint32_t& c2, uint32_t& c3, uint32_t k0,
                               uint32_t k1) {
  const uint64_t p0 = (uint64_t)c0 * kPhiloxMultiplier0, p1 = (uint64_t)c2 * kPhiloxMultiplier1;
  c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
  c1 = (uint32_t)p1;
  c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
  c3 = (uint32_t)p0;
}

FC_RANDOM_FN PhiloxBlock philox(PhiloxCounter c, uint64_t seed) {
  uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
  for (int round = 0; round < kPhiloxRounds; ++round, k0 += kPhiloxWeyl0, k1 += kPhiloxWeyl1)
    philox_round(c.c0, c.c1, c.c2, c.c3, k0, k1);
  return PhiloxBlock{{c.c0, c.c1, c.c2, c.c3}};
}
FC_RANDOM_FN PhiloxBlock philox(const RandomKey& key, uint64_t sample, uint64_t block) {
  return philox(philox_counter(key.call, key.first_sample + sample, block), key.seed);
}

// ---- masks: eight 16-bit draws to a block, position p of a sample is draw p % 8 of block p / 8 --------------

/// Draw j of a block: the halves of the words in order, low half first.
FC_RANDOM_FN uint32_t philox_half(const PhiloxBlock& b, int j) {
  return b.word[j >> 1] >> (16 * (j & 1)) & 0xffffu;
}
/// An element is dropped when its draw is below this; p is resolved to 1/65536.
FC_RANDOM_FN uint32_t drop_threshold(double p) { return (uint32_t)(p * 65536.0 + 0.5); }

}  // namespace fastcnn
