// What the forms of Winograd convolution (kernels/winograd.h) have along one axis: how many positions, and which inputs
// and filters make up a product.
#pragma once

#include "common/algo.h"
#include "cpu/kernels/winograd.h"

namespace fastcnn::cpu {

/// Of a tile of size m: pixels, which are as many as its inputs; products; multiplications.
constexpr int winograd_inputs(WinogradForm form, int m) {
  return form == WinogradForm::stride1 ? m + 2 : form == WinogradForm::stride2 ? 2 * m + 1 : m + 1;
}
constexpr int winograd_products(WinogradForm form, int m) {
  return form == WinogradForm::stride1 ? m + 2 : form == WinogradForm::stride2 ? m + 1 : 2 * m + 1;
}
constexpr int winograd_multiplications(WinogradForm form, int m) {
  return form == WinogradForm::stride1 ? m + 2 : 2 * m + 1;
}
/// From one tile to the next, times its size.
constexpr int winograd_input_step(WinogradForm form) { return form == WinogradForm::stride2 ? 2 : 1; }
constexpr int winograd_output_step(WinogradForm form) {
  return form == WinogradForm::stride2_gradient ? 2 : 1;
}

/// A product is the sum of these.
struct WinogradTerms {
  int count, input[2], filter[2];
};
WinogradTerms winograd_terms(WinogradForm form, int product);

/// The other way round: which inputs are multiplied by a filter, and for which products.
struct WinogradUses {
  int count, input[4], product[4];
};
WinogradUses winograd_uses(WinogradForm form, int filter, int products);

WinogradForm conv_winograd_form(const ConvProblem& p, Pass pass);
/// stride2_gradient works on pairs of rows and columns of x, of which the second meets two taps. With even padding the
/// first pair begins before x: by how much.
int conv_winograd_before(const ConvProblem& p, Pass pass, int axis);

}  // namespace fastcnn::cpu
