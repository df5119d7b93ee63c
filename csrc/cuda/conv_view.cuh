// A convolution as its kernels see it: operands through their strides, the geometry in 32 bits, and what is applied to x on
// load and to y before it is stored.
#pragma once

#include "common/algo.h"
#include "cuda/device.cuh"
#include "cuda/vec.cuh"
#include "cuda/walk.cuh"

namespace fastcnn::cuda {

/// A tensor (n, channel, depth, height, width) through its strides.
template <class T>
struct View {
  T* data;
  int64_t stride[5];

  FC_METHOD T* at(int64_t n, int64_t c, int64_t d, int64_t h, int64_t w) const {
    return data + n * stride[0] + c * stride[1] + d * stride[2] + h * stride[3] + w * stride[4];
  }
};
template <class T>
View<T> view_of(const Tensor& t) {
  View<T> v{};
  if (!t.storage) return v;
  v.data = static_cast<T*>(t.raw());
  v.stride[0] = t.strides[0];
  v.stride[1] = t.strides[1];
  for (int i = 2; i < t.ndim(); ++i) v.stride[i + 5 - t.ndim()] = t.strides[i];
  return v;
}

template <class T>
struct Channelwise {  // bias, scale, shift: null if absent
  const T* data;
  int64_t stride;
  FC_METHOD Wide<T> operator[](int64_t c) const { return widen(load(data + c * stride)); }
};
template <class T>
Channelwise<T> channelwise(const Tensor& t) {
  if (!t.storage) return {nullptr, 0};
  return {static_cast<const T*>(t.raw()), t.strides[0]};
}

/// One axis of the geometry.
struct ConvAxis {
  int in, out, taps, stride, dilation, pad_low, pad_high;
  PadMode mode;
  FastDivide by_stride;

  /// The input cell under tap t of output position o; -1 where padding is zero.
  FC_METHOD int64_t input(int o, int t) const {
    return conv_input_index(o, t, stride, dilation, pad_low, in, mode);
  }
  /// How many output positions read cell i through tap t; o becomes the which-th of them.
  FC_METHOD int64_t sources(int i, int t, int64_t which, int64_t& o) const {
    return conv_output_source(i, t, stride, dilation, pad_low, pad_high, in, out, mode, which, o);
  }
};

template <class T>
struct ConvView {
  int channels, filters;  // of a group
  ConvAxis axis[3];
  View<T> x, w, y, residual;
  Channelwise<T> bias, scale, shift;
  Channelwise<T> factor;  ///< of filters: batch norm by given statistics, whose shift is the bias
  bool relu_before;
  Wide<T> low, high;  ///< of the activation that follows: y = min(high, max(low, y)), NaN stays

  /// x with the previous layer's normalisation and activation.
  FC_METHOD Wide<T> input(const T* at, int64_t c) const {
    Wide<T> v = widen(*at);
    if (scale.data) v = v * scale[c] + shift[c];
    return relu_before && v < 0 ? Wide<T>(0) : v;
  }
  /// Channel c of x under tap t of output position o; 0 in the padding.
  FC_METHOD Wide<T> patch(int n, int c, const int (&o)[3], const int (&t)[3]) const {
    const int64_t d = axis[0].input(o[0], t[0]), h = axis[1].input(o[1], t[1]),
                  w_ = axis[2].input(o[2], t[2]);
    if (d < 0 || h < 0 || w_ < 0) return Wide<T>(0);
    return input(x.at(n, c, d, h, w_), c);
  }
  /// y = activation(sum * factor + bias + residual).
  FC_METHOD void finish(int n, int k, const int (&o)[3], Wide<T> sum) const {
    if (factor.data) sum *= factor[k];
    if (bias.data) sum += bias[k];
    if (residual.data) sum += widen(load(residual.at(n, k, o[0], o[1], o[2])));
    if (sum < low) sum = low;
    if (sum > high) sum = high;
    store(y.at(n, k, o[0], o[1], o[2]), Narrow<T>::of(sum));
  }
};

template <class T>
ConvView<T> conv_view(const ConvArgs& a) {
  const ConvProblem& q = *a.problem;
  ConvView<T> v{};
  v.channels = static_cast<int>(q.channels_per_group());
  v.filters = static_cast<int>(q.filters_per_group());
  for (int i = 0; i < 3; ++i) {
    for (const int64_t extent :
         {q.in[i], q.out[i], q.stride[i], q.dilation[i], q.pad_low[i], q.pad_high[i]}) {
      FC_CHECK(extent < INT32_MAX / 2, "conv: an axis of ", extent, " cells, expected below 2^30 on CUDA");
    }
    v.axis[i] = {static_cast<int>(q.in[i]),       static_cast<int>(q.out[i]),
                 static_cast<int>(q.filter[i]),   static_cast<int>(q.stride[i]),
                 static_cast<int>(q.dilation[i]), static_cast<int>(q.pad_low[i]),
                 static_cast<int>(q.pad_high[i]), q.pad_mode,
                 FastDivide(q.stride[i])};
  }
  v.x = view_of<T>(a.x);
  v.w = view_of<T>(a.w);
  v.y = view_of<T>(a.y);
  v.residual = view_of<T>(a.residual);
  v.bias = channelwise<T>(a.bias);
  v.factor = channelwise<T>(a.filter_scale);
  v.scale = channelwise<T>(a.scale);
  v.shift = channelwise<T>(a.shift);
  v.relu_before = q.prologue.activation == Unary::relu;
  v.low = q.epilogue.low();
  v.high = q.epilogue.high();
  return v;
}

}  // namespace fastcnn::cuda
