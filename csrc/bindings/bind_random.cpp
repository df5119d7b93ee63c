// Random numbers and dropout. A key is (seed, call, first_sample), handed out by fastcnn.random.Generator.
#include <array>

#include "bindings/casters.h"
#include "ops/dropout.h"
#include "ops/random.h"

namespace fastcnn {

namespace {
using T = const Tensor&;
}

void bind_random(py::module_& m) {
  py::class_<RandomKey>(m, "RandomKey").def(py::init([](uint64_t seed, uint64_t call, uint64_t first_sample) {
    FC_CHECK(call < (uint64_t{1} << 48), "random: call number ", call, " is beyond 2^48; use a new seed");
    FC_CHECK(first_sample < (uint64_t{1} << 40), "random: sample index ", first_sample, " is beyond 2^40");
    return RandomKey{seed, call, first_sample};
  }));
  m.def("philox", [](std::array<uint32_t, 4> c, std::array<uint32_t, 2> k) {
    const PhiloxBlock b = philox(PhiloxCounter{c[0], c[1], c[2], c[3]}, uint64_t(k[1]) << 32 | k[0]);
    return py::make_tuple(b.word[0], b.word[1], b.word[2], b.word[3]);
  });
  m.def("random_uniform", &ops::random_uniform, release_gil());
  m.def("random_normal", &ops::random_normal, release_gil());
  m.def("random_integers", &ops::random_integers, release_gil());
  m.def(
      "random_permutation",
      [](int64_t n, const RandomKey& key) { return ops::random_permutation(n, key, redirected(Device{})); },
      release_gil());
  m.def("bernoulli", &ops::bernoulli, release_gil());
  m.def("gaussian_scale", &ops::gaussian_scale, release_gil());
  m.def("rrelu_scale", &ops::rrelu_scale, release_gil());
  m.def("dropout", &ops::dropout, release_gil());
  m.def("drop_connect_forward", &ops::drop_connect_forward, release_gil());
  m.def("drop_connect_backward_input", &ops::drop_connect_backward_input, release_gil());
  m.def("drop_connect_backward_weight", &ops::drop_connect_backward_weight, release_gil());
}

}  // namespace fastcnn
