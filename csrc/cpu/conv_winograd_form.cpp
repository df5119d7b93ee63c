#include "cpu/conv_winograd_form.h"

namespace fastcnn::cpu {
namespace {

// Stride 2: points a, -a, infinity, b, -b.
constexpr int kInfinity = 2, kOneTap = 3;          // a point; the filter of one tap
constexpr int kTwoTaps[5] = {0, 1, 2, 4, 5};       // filters of two taps
constexpr int kTwoTapsPlace[5] = {0, 1, 2, 5, 7};  // inputs, or the gradient's products
constexpr int kOneTapPlace[5] = {3, 4, -1, 6, 8};

}  // namespace

WinogradTerms winograd_terms(WinogradForm form, int product) {
  if (form == WinogradForm::stride1) return {1, {product}, {product}};
  if (form == WinogradForm::stride2)
    return {product == kInfinity ? 1 : 2,
            {kTwoTapsPlace[product], kOneTapPlace[product]},
            {kTwoTaps[product], kOneTap}};
  for (int point = 0;; ++point) {
    if (kTwoTapsPlace[point] == product) return {1, {point}, {kTwoTaps[point]}};
    if (kOneTapPlace[point] == product) return {1, {point}, {kOneTap}};
  }
}

WinogradUses winograd_uses(WinogradForm form, int filter, int products) {
  WinogradUses uses{};
  for (int i = 0; i < products; ++i) {
    const WinogradTerms terms = winograd_terms(form, i);
    for (int t = 0; t < terms.count; ++t)
      if (terms.filter[t] == filter) {
        uses.input[uses.count] = terms.input[t];
        uses.product[uses.count++] = i;
      }
  }
  return uses;
}

WinogradForm conv_winograd_form(const ConvProblem& p, Pass pass) {
  if (p.stride[1] == 1) return WinogradForm::stride1;
  return pass == Pass::backward_input ? WinogradForm::stride2_gradient : WinogradForm::stride2;
}

int conv_winograd_before(const ConvProblem& p, Pass pass, int axis) {
  return conv_winograd_form(p, pass) == WinogradForm::stride2_gradient && p.pad_low[axis] % 2 == 0;
}

}  // namespace fastcnn::cpu
