#include "common/pool_fractional.h"

namespace fastcnn {

namespace {
constexpr const char* kAxisNames[] = {"depth", "height", "width"};
}

FractionalProblem::FractionalProblem(const char* op, const Dims& x, const Dims& w, const Dims& o, DType type)
    : spatial(w.n), dtype(type) {
  FC_CHECK(x.n == spatial + 2, op, ": expected ", spatial + 1, "D (unbatched) or ", spatial + 2,
           "D (batched) input, got shape ", to_string(x));
  FC_CHECK(o.n == spatial, op, ": output_size needs ", spatial, " numbers, got ", to_string(o));
  N = x[0];
  C = x[1];
  for (int i = 0; i < 3; ++i) {
    const int axis = i - (3 - spatial);
    in[i] = axis < 0 ? 1 : x[axis + 2];
    window[i] = axis < 0 ? 1 : w[axis];
    out[i] = axis < 0 ? 1 : o[axis];
    FC_CHECK(window[i] > 0, op, ": kernel ", kAxisNames[i], " is ", window[i], ", expected at least 1");
    FC_CHECK(out[i] > 0, op, ": output ", kAxisNames[i], " is ", out[i], ", expected at least 1");
    FC_CHECK(out[i] <= in[i] && window[i] <= in[i] - out[i] + 1, op, ": ", out[i], " windows of ", window[i],
             " do not fit along ", kAxisNames[i], ", got input ", in[i],
             ", expected output + kernel - 1 <= input; use an output of at most ",
             window[i] <= in[i] ? in[i] - window[i] + 1 : 0);
  }
}

Dims FractionalProblem::output_shape() const {
  Dims shape{N, C};
  for (int i = 3 - spatial; i < 3; ++i) shape.push_back(out[i]);
  return shape;
}

}  // namespace fastcnn
