// Direct convolution: the loops of the definition, reading every operand through its strides. It takes any
// geometry, dtype, padding mode, prologue and epilogue and needs no workspace: the row that always runs, and the
// one the others are compared with. Sums run in the order (t, r, s, c), in float32 for 16-bit types.
//
// Padding taps are skipped, not multiplied by zero, so a non-finite weight does not spoil the border.
#include <algorithm>

#include "cpu/conv_algos.h"
#include "cpu/thread_pool.h"

namespace fastcnn::cpu {

namespace {

// A 5-D view (n, channel, depth, height, width) of a 3-, 4- or 5-D tensor.
template <class T>
struct View5 {
  T* data = nullptr;
  int64_t stride[5] = {};
  explicit View5(const Tensor& t) {
    if (!t.storage) return;
    data = t.data<T>();
    stride[0] = t.strides[0];
    stride[1] = t.strides[1];
    for (int i = 2; i < t.ndim(); ++i) stride[i + 5 - t.ndim()] = t.strides[i];
  }
  T& at(int64_t n, int64_t c, const int64_t (&i)[3]) const {
    return data[n * stride[0] + c * stride[1] + i[0] * stride[2] + i[1] * stride[3] + i[2] * stride[4]];
  }
};

template <class T>
struct Channelwise {  // bias, scale, shift
  const T* data = nullptr;
  int64_t stride = 0;
  explicit Channelwise(const Tensor& t) {
    if (!t.storage) return;
    data = t.data<T>();
    stride = t.ndim() ? t.strides[0] : 0;
  }
  T operator[](int64_t c) const { return data[c * stride]; }
};

void unravel(int64_t flat, const int64_t (&extent)[3], int64_t (&index)[3]) {
  index[2] = flat % extent[2];
  index[1] = flat / extent[2] % extent[1];
  index[0] = flat / extent[2] / extent[1];
}

// Calls f(tap, input index) for the taps of output position `o` that hit the input.
template <class F>
void for_each_tap(const ConvProblem& p, const int64_t (&o)[3], F&& f) {
  int64_t tap[3], at[3];
  for (tap[0] = 0; tap[0] < p.filter[0]; ++tap[0]) {
    at[0] = conv_input_index(o[0], tap[0], p.stride[0], p.dilation[0], p.pad_low[0], p.in[0], p.pad_mode);
    if (at[0] < 0) continue;
    for (tap[1] = 0; tap[1] < p.filter[1]; ++tap[1]) {
      at[1] = conv_input_index(o[1], tap[1], p.stride[1], p.dilation[1], p.pad_low[1], p.in[1], p.pad_mode);
      if (at[1] < 0) continue;
      for (tap[2] = 0; tap[2] < p.filter[2]; ++tap[2]) {
        at[2] = conv_input_index(o[2], tap[2], p.stride[2], p.dilation[2], p.pad_low[2], p.in[2], p.pad_mode);
        if (at[2] >= 0) f(tap, at);
      }
    }
  }
}

template <class T>
struct Direct {
  using A = Accumulator<T>;
  const ConvProblem& p;
  View5<T> x, w, y, residual;
  Channelwise<T> bias, scale, shift, filter_scale;
  explicit Direct(const ConvArgs& a)
      : p(*a.problem),
        x(a.x),
        w(a.w),
        y(a.y),
        residual(a.residual),
        bias(a.bias),
        scale(a.scale),
        shift(a.shift),
        filter_scale(a.filter_scale) {}

  A load(int64_t n, int64_t c, const int64_t (&at)[3]) const {
    A v = A(x.at(n, c, at));
    if (p.prologue.scale_shift) v = v * A(scale[c]) + A(shift[c]);
    if (p.prologue.activation == Unary::relu) v = v < 0 ? A(0) : v;
    return v;
  }

  void forward(int64_t n, int64_t k) const {
    const int64_t Cg = p.channels_per_group(), c0 = k / p.filters_per_group() * Cg;
    int64_t o[3];
    for (int64_t pixel = 0; pixel < p.out_pixels(); ++pixel) {
      unravel(pixel, p.out, o);
      A sum = 0;
      for_each_tap(p, o, [&](const int64_t(&tap)[3], const int64_t(&at)[3]) {
        for (int64_t c = 0; c < Cg; ++c) sum += load(n, c0 + c, at) * A(w.at(k, c, tap));
      });
      if (p.epilogue.scale) sum *= A(filter_scale[k]);
      if (p.epilogue.bias) sum += A(bias[k]);
      if (p.epilogue.residual) sum += A(residual.at(n, k, o));
      sum = sum < A(p.epilogue.low())    ? A(p.epilogue.low())
            : sum > A(p.epilogue.high()) ? A(p.epilogue.high())
                                         : sum;
      y.at(n, k, o) = T(sum);
    }
  }

  // dx[n,c,i] = sum over the (tap, o) that read i. With zero padding those are solved for per tap; the other
  // modes read an input cell from several places, so all outputs are visited in order.
  void backward_input(int64_t n, int64_t c) const {
    const int64_t Kg = p.filters_per_group(), g = c / p.channels_per_group(), cg = c % p.channels_per_group();
    int64_t i[3];
    for (int64_t pixel = 0; pixel < p.in_pixels(); ++pixel) {
      unravel(pixel, p.in, i);
      A sum = 0;
      int64_t tap[3], o[3] = {};
      for (tap[0] = 0; tap[0] < p.filter[0]; ++tap[0])
        for (int64_t a = 0; a < sources(0, i[0], tap[0], o[0], a); ++a)
          for (tap[1] = 0; tap[1] < p.filter[1]; ++tap[1])
            for (int64_t b = 0; b < sources(1, i[1], tap[1], o[1], b); ++b)
              for (tap[2] = 0; tap[2] < p.filter[2]; ++tap[2])
                for (int64_t d = 0; d < sources(2, i[2], tap[2], o[2], d); ++d)
                  for (int64_t k = g * Kg; k < (g + 1) * Kg; ++k)
                    sum += A(y.at(n, k, o)) * A(w.at(k, cg, tap));
      x.at(n, c, i) = T(sum);
    }
  }

  // How many output positions read input cell i through tap t along one axis; o becomes the which-th of them.
  int64_t sources(int axis, int64_t i, int64_t t, int64_t& o, int64_t which) const {
    return conv_output_source(i, t, p.stride[axis], p.dilation[axis], p.pad_low[axis], p.pad_high[axis],
                              p.in[axis], p.out[axis], p.pad_mode, which, o);
  }

  void backward_weight(int64_t k, int64_t c) const {
    const int64_t c0 = k / p.filters_per_group() * p.channels_per_group();
    int64_t tap[3], o[3], at[3];
    for (int64_t t = 0; t < p.taps(); ++t) {
      unravel(t, p.filter, tap);
      A total = 0;
      for (int64_t n = 0; n < p.N; ++n) {
        A sum = 0;  // per image first: shorter sums, smaller errors
        for (o[0] = 0; o[0] < p.out[0]; ++o[0]) {
          at[0] =
              conv_input_index(o[0], tap[0], p.stride[0], p.dilation[0], p.pad_low[0], p.in[0], p.pad_mode);
          if (at[0] < 0) continue;
          for (o[1] = 0; o[1] < p.out[1]; ++o[1]) {
            at[1] =
                conv_input_index(o[1], tap[1], p.stride[1], p.dilation[1], p.pad_low[1], p.in[1], p.pad_mode);
            if (at[1] < 0) continue;
            for (o[2] = 0; o[2] < p.out[2]; ++o[2]) {
              at[2] = conv_input_index(o[2], tap[2], p.stride[2], p.dilation[2], p.pad_low[2], p.in[2],
                                       p.pad_mode);
              if (at[2] >= 0) sum += A(y.at(n, k, o)) * load(n, c0 + c, at);
            }
          }
        }
        total += sum;
      }
      w.at(k, c, tap) = T(total);
    }
  }
};

}  // namespace

const char* conv_direct_unsupported(const ConvProblem&, Pass, const DeviceProps&) { return nullptr; }
size_t conv_direct_workspace_bytes(const ConvProblem&, Pass, const DeviceProps&) { return 0; }
double conv_direct_cost(const ConvProblem& p, Pass, const DeviceProps&) {
  return p.flops() / 1e3;  // about 1 GFLOP/s
}

void conv_direct_run(const ConvArgs& args, Pass pass, void*) {
  const ConvProblem& p = *args.problem;
  dispatch_float(p.dtype, "conv", [&](auto type) {
    const Direct<typename decltype(type)::type> direct(args);
    const int64_t rows = pass == Pass::forward          ? p.K
                         : pass == Pass::backward_input ? p.C
                                                        : p.channels_per_group();
    const int64_t outer = pass == Pass::backward_weight ? p.K : p.N;
    parallel_for(outer * rows, [&](int64_t task, int) {
      const int64_t a = task / rows, b = task % rows;
      if (pass == Pass::forward) direct.forward(a, b);
      if (pass == Pass::backward_input) direct.backward_input(a, b);
      if (pass == Pass::backward_weight) direct.backward_weight(a, b);
    });
  });
}

}  // namespace fastcnn::cpu
