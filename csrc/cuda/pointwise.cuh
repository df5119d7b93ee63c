// The formulas of common/pointwise_formulas.inl as function objects for map().
#pragma once

#include "cuda/map.cuh"

namespace fastcnn::cuda {
namespace {

#define FC_MATH1(name)                                     \
  FC_DEVICE float m_##name(float x) { return name##f(x); } \
  FC_DEVICE double m_##name(double x) { return ::name(x); }
FC_MATH1(exp)
FC_MATH1(expm1)
FC_MATH1(log)
FC_MATH1(log1p)
FC_MATH1(sqrt)
FC_MATH1(sin)
FC_MATH1(cos)
FC_MATH1(erf)
FC_MATH1(tanh)
FC_MATH1(floor)
FC_MATH1(ceil)
FC_MATH1(rint)
#undef FC_MATH1
FC_DEVICE float m_abs(float x) { return fabsf(x); }
FC_DEVICE double m_abs(double x) { return ::fabs(x); }
FC_DEVICE float m_pow(float x, float y) { return powf(x, y); }
FC_DEVICE double m_pow(double x, double y) { return ::pow(x, y); }

#include "common/pointwise_formulas.inl"

template <class T>
constexpr bool kIsReal = std::is_floating_point_v<Wide<T>>;
/// The type of the parameters p0 and p1: as on the CPU, float64 beside integers.
template <class T>
using Parameter = std::conditional_t<kIsReal<T>, Wide<T>, double>;

template <class Formula, class T>
struct Fixed {
  Parameter<T> p, q;
  FC_METHOD T operator()(T x) const { return Narrow<T>::of(Formula::f(widen(x), p, q)); }
  FC_METHOD T operator()(T a, T b) const { return Narrow<T>::of(Formula::f(widen(a), widen(b), p, q)); }
};

}  // namespace
}  // namespace fastcnn::cuda
