#include "common/conv_problem.h"

#include <algorithm>

namespace fastcnn {

const char* name_of(Pass pass) {
  constexpr const char* kNames[] = {"forward", "backward_input", "backward_weight"};
  return kNames[int(pass)];
}

PadMode parse_pad_mode(const std::string& name) {
  if (name == "zeros") return PadMode::zeros;
  if (name == "reflect") return PadMode::reflect;
  if (name == "replicate") return PadMode::replicate;
  if (name == "circular") return PadMode::circular;
  fail<ValueError>("padding_mode: got '", name, "', expected zeros, reflect, replicate or circular");
}

namespace {

constexpr int64_t kHuge = int64_t{1} << 40;          // extents below it keep sums far from overflow
constexpr int64_t kMostElements = int64_t{1} << 48;  // and fewer elements than this, bytes of workspaces

}  // namespace

int64_t conv_output_extent(int64_t in, int64_t filter, int64_t stride, int64_t dilation, int64_t pad_low,
                           int64_t pad_high) {
  FC_CHECK(stride > 0, "conv: stride is ", stride, ", expected at least 1");
  const int64_t room = in + pad_low + pad_high - dilation * (filter - 1) - 1;
  return room < 0 ? 0 : room / stride + 1;
}

void named_padding(const std::string& name, int64_t in, int64_t filter, int64_t stride, int64_t dilation,
                   int64_t& pad_low, int64_t& pad_high) {
  pad_low = pad_high = 0;
  if (name == "valid") return;
  FC_CHECK(name == "same" || name == "same_lower", "padding: got '", name,
           "', expected an int, a tuple, 'same', 'same_lower' or 'valid'");
  FC_CHECK(stride > 0, "padding: stride is ", stride, ", expected at least 1");
  FC_CHECK(
      in < kHuge && stride < kHuge && dilation < kHuge && filter < kHuge / std::max<int64_t>(dilation, 1),
      "padding: extents are above 2^40, got input ", in, ", kernel ", filter, ", stride ", stride,
      " and dilation ", dilation);
  const int64_t out = (in + stride - 1) / stride;
  const int64_t total = std::max<int64_t>((out - 1) * stride + dilation * (filter - 1) + 1 - in, 0);
  pad_low = name == "same" ? total / 2 : total - total / 2;
  pad_high = total - pad_low;
}

namespace {

constexpr const char* kAxisNames[] = {"depth", "height", "width"};

void check_padding(const char* op, const ConvProblem& p, int axis) {
  const int64_t widest = std::max(p.pad_low[axis], p.pad_high[axis]);
  if (p.pad_mode == PadMode::reflect)
    FC_CHECK(widest < p.in[axis], op, ": reflect padding of ", widest, " needs an input ", kAxisNames[axis],
             " above ", widest, ", got ", p.in[axis], "; use at most ", p.in[axis] - 1);
  if (p.pad_mode == PadMode::circular)
    FC_CHECK(widest <= p.in[axis], op, ": circular padding of ", widest, " needs an input ", kAxisNames[axis],
             " of at least ", widest, ", got ", p.in[axis]);
  if (p.pad_mode == PadMode::replicate)
    FC_CHECK(widest == 0 || p.in[axis] > 0, op, ": replicate padding of an empty ", kAxisNames[axis]);
}

void check_elements(const char* op, const char* what, const Dims& shape) {
  int64_t count = 1;
  for (int64_t extent : shape)  // an empty tensor may have any other extents
    if (extent == 0) return;
  for (int64_t extent : shape)
    FC_CHECK(!__builtin_mul_overflow(count, extent, &count) && count <= kMostElements, op, ": ", what, " ",
             to_string(shape), " has more than 2^48 elements; cut the batch into parts");
}

}  // namespace

ConvProblem::ConvProblem(const char* op, const Dims& x, const Dims& weight, const ConvGeometry& g, DType type)
    : dtype(type) {
  spatial = weight.n - 2;
  FC_CHECK(spatial >= 1 && spatial <= 3, op, ": weight has ", weight.n, " dimensions, expected 3 to 5 (",
           to_string(weight), ")");
  FC_CHECK(x.n == weight.n, op, ": expected ", spatial + 1, "D (unbatched) or ", spatial + 2,
           "D (batched) input, got shape ", to_string(x));
  for (const Dims* d : {&g.stride, &g.dilation, &g.pad_low, &g.pad_high})
    FC_CHECK(d->n == spatial, op, ": stride, padding and dilation need ", spatial, " numbers, got ",
             to_string(*d));
  for (const Dims* d : {&x, &weight})
    for (int64_t extent : *d)
      FC_CHECK(extent >= 0, op, ": got input ", to_string(x), " and weight ", to_string(weight),
               ", expected no negative extents");
  N = x[0];
  C = x[1];
  K = weight[0];
  G = g.groups;
  pad_mode = g.pad_mode;
  FC_CHECK(G > 0, op, ": groups is ", G, ", expected a positive integer");
  FC_CHECK(K > 0, op, ": weight ", to_string(weight), " has no filters, expected at least one");
  FC_CHECK(K % G == 0, op, ": ", K, " filters do not divide into ", G,
           " groups; use groups that divide out_channels");
  FC_CHECK(C % G == 0, op, ": ", C, " input channels do not divide into ", G,
           " groups; use groups that divide in_channels");
  FC_CHECK(weight[1] * G == C, op, ": given groups=", G, " and weight ", to_string(weight),
           ", expected input ", to_string(x), " to have ", weight[1] * G, " channels, got ", C,
           (x.n >= 3 && x[x.n - 1] == weight[1] * G)
               ? "; it looks like channels-last data: permute it to (N, C, ...)"
               : "");
  for (int i = 0; i < 3; ++i) {
    const int axis = i - (3 - spatial);  // index into the user's lists
    const bool unit = axis < 0;
    in[i] = unit ? 1 : x[axis + 2];
    filter[i] = unit ? 1 : weight[axis + 2];
    stride[i] = unit ? 1 : g.stride[axis];
    dilation[i] = unit ? 1 : g.dilation[axis];
    pad_low[i] = unit ? 0 : g.pad_low[axis];
    pad_high[i] = unit ? 0 : g.pad_high[axis];
    const char* name = kAxisNames[i];
    FC_CHECK(filter[i] > 0, op, ": kernel ", name, " is ", filter[i], ", expected at least 1");
    FC_CHECK(stride[i] > 0, op, ": stride along ", name, " is ", stride[i], ", expected at least 1");
    FC_CHECK(dilation[i] > 0, op, ": dilation along ", name, " is ", dilation[i], ", expected at least 1");
    FC_CHECK(pad_low[i] >= 0 && pad_high[i] >= 0, op, ": padding along ", name, " is (", pad_low[i], ", ",
             pad_high[i], "), expected 0 or more; slice the input instead of padding negatively");
    FC_CHECK(in[i] < kHuge && filter[i] < kHuge / std::max<int64_t>(dilation[i], 1) && stride[i] < kHuge &&
                 pad_low[i] < kHuge && pad_high[i] < kHuge,
             op, ": extents along ", name, " are above 2^40");
    check_padding(op, *this, i);
    out[i] = conv_output_extent(in[i], filter[i], stride[i], dilation[i], pad_low[i], pad_high[i]);
    const int64_t reach = dilation[i] * (filter[i] - 1) + 1, padded = in[i] + pad_low[i] + pad_high[i];
    FC_CHECK(reach <= padded, op, ": kernel ", name, " (", reach, dilation[i] > 1 ? " with dilation" : "",
             ") is larger than the padded input: got input ", in[i], " + padding ", pad_low[i] + pad_high[i],
             " = ", padded, ", expected at least ", reach, "; use padding=", (reach - in[i] + 1) / 2,
             padded >= 1 ? str(" or kernel_size<=", (padded - 1) / dilation[i] + 1) : std::string());
  }
  check_elements(op, "input", x);
  check_elements(op, "weight", weight);
  check_elements(op, "output", output_shape());
}

Dims ConvProblem::output_shape() const {
  Dims shape{N, K};
  for (int i = 3 - spatial; i < 3; ++i) shape.push_back(out[i]);
  return shape;
}
Dims ConvProblem::input_shape() const {
  Dims shape{N, C};
  for (int i = 3 - spatial; i < 3; ++i) shape.push_back(in[i]);
  return shape;
}
Dims ConvProblem::weight_shape() const {
  Dims shape{K, C / G};
  for (int i = 3 - spatial; i < 3; ++i) shape.push_back(filter[i]);
  return shape;
}

std::string ConvProblem::describe() const {
  constexpr const char* kLetters[] = {"d", "h", "w"};
  std::string text = G > 1 ? str("g", G) : "";
  text += str("mb", N, "ic", C, "oc", K);
  for (int i = 3 - spatial; i < 3; ++i) {
    const char* a = kLetters[i];
    text += str("i", a, in[i], "o", a, out[i], "k", a, filter[i]);
    if (stride[i] != 1) text += str("s", a, stride[i]);
    if (pad_low[i]) text += str("p", a, pad_low[i]);
    if (pad_high[i] != pad_low[i]) text += str("p", a, "h", pad_high[i]);
    if (dilation[i] != 1) text += str("d", a, dilation[i] - 1);  // benchdnn counts from 0
  }
  return text;
}

}  // namespace fastcnn
