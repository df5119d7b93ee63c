// How the passes of a convolution look to the patch gatherer, and how its filters are packed.
#pragma once

#include "common/algo.h"
#include "cpu/patch_gemm.h"

namespace fastcnn::cpu {

/// A 3-, 4- or 5-D float32 tensor; without data if the tensor is absent.
Volume volume(const Tensor& t);
/// Memory in the order n, d, h, w, channel.
Volume channels_last_volume(float* data, const int64_t (&extent)[3], int64_t channels);

/// x as forward and backward_weight read it: rows are output pixels, columns (t, r, s, c). Without the prologue.
Gather conv_input_patches(const ConvProblem& p, const Volume& x);

/// y pixel by pixel: rows are output pixels, columns k.
Gather conv_output_rows(const ConvProblem& p, const Volume& y);

/// One residue class of the input coordinates of an axis modulo the stride: which taps reach it, and from where.
/// Input coordinate first + i * stride receives from tap j output position i + offset + j * tap_step; tap j is
/// filter position tap_first - j * tap_down.
struct ConvPhase {
  int64_t index;                ///< of the class, in 0 .. conv_phases - 1
  int64_t first, count;         ///< input coordinates
  int64_t taps;                 ///< 0: nothing reaches them
  int64_t tap_first, tap_down;  ///< filter positions fall, so that source positions rise
  int64_t offset, tap_step;
};
/// Residue classes of an axis that hold input coordinates.
int64_t conv_phases(const ConvProblem& p, int axis);
ConvPhase conv_phase(const ConvProblem& p, int axis, int64_t index);
/// dy as backward_input reads it for one class per axis: rows are input pixels, columns (taps, k).
Gather conv_gradient_patches(const ConvProblem& p, const Volume& dy, const ConvPhase (&phase)[3]);
/// The class's place among the packed filters, in floats: filters of the classes follow each other.
size_t conv_phase_filter_offset(const ConvProblem& p, const ConvPhase (&phase)[3]);

/// Calls f(phase) for every combination of classes.
template <class F>
void conv_for_each_phase(const ConvProblem& p, F&& f) {
  ConvPhase phase[3];
  for (int64_t d = 0; d < conv_phases(p, 0); ++d)
    for (int64_t h = 0; h < conv_phases(p, 1); ++h)
      for (int64_t w = 0; w < conv_phases(p, 2); ++w) {
        phase[0] = conv_phase(p, 0, d), phase[1] = conv_phase(p, 1, h), phase[2] = conv_phase(p, 2, w);
        f(phase);
      }
}

/// Packs all filters for forward, or for all classes of backward_input, on up to `threads` threads.
void conv_pack_forward(const ConvProblem& p, const Volume& w, float* packed, int threads);
void conv_pack_backward_input(const ConvProblem& p, const Volume& w, float* packed, int threads);

// ---- backward_input of the padding modes that read an input cell from several places ----
bool conv_needs_fold(const ConvProblem& p);
/// The same convolution of an input that was padded beforehand.
ConvProblem conv_with_padding_inside(ConvProblem p);
/// dx[cell] = sum of the padded gradient over the cell's images, in a fixed order.
void conv_fold_padding(const ConvProblem& p, const Volume& padded, const Volume& dx, int threads);

/// A bias or the like, whatever its stride, to contiguous memory; returns that.
const float* conv_copy_vector(const Tensor& t, int64_t n, float* dst);

/// Hands out pieces of a workspace; from a null base it only counts. Pieces start on 64-byte boundaries.
class FloatArena {
 public:
  explicit FloatArena(void* base) : base_(static_cast<float*>(base)) {}
  float* take(size_t floats) {
    float* piece = base_ ? base_ + used_ : nullptr;
    used_ += (floats + 15) / 16 * 16;
    return piece;
  }
  size_t bytes() const { return used_ * sizeof(float); }

 private:
  float* base_;
  size_t used_ = 0;
};

}  // namespace fastcnn::cpu
