// Convolution as matrix products over patches ("im2col"). Where output lines are long, patches are read from lines of the
// source as they are (patch_lines.h). Else up to 192 patches at a time are gathered into a thread's scratch, which
// stays in its L2. The register-tiled kernel multiplies them with packed filters. The patch matrix never exists.
//
//   forward         y[pixel, k]  = patches of x [pixel, (t,r,s,c)] * w[(t,r,s,c), k]
//   backward_input  dx[pixel, c] = patches of dy [pixel, (t,r,s,k)] * w[(t,r,s,k), c], once for each residue
//                   class of the input coordinates modulo the stride (the "phases" of a transposed convolution):
//                   a class meets every stride-th tap only, and its patches are dense, so nothing is scattered
//                   and no two tasks write one element. Few channels: conv_im2col_runs.cpp
//   backward_weight conv_im2col_weight.cpp
//
// Padding modes are index maps in the gatherer. For backward_input of the other modes the gradient of the padded
// input is computed first, then the cells that mirror one input cell are added up in a fixed order.
// Padding is multiplied (but for whole lines): an infinite weight makes NaN of a zero-padded border, where direct skips
// the tap.
#include "cpu/conv_im2col.h"

#include <algorithm>
#include <cmath>

#include "cpu/conv_algos.h"
#include "cpu/isa.h"
#include "cpu/thread_pool.h"

namespace fastcnn::cpu {
namespace {

PatchGemm forward_product(const ConvProblem& p, const Volume& x) {
  PatchGemm g{};
  g.gather = conv_input_patches(p, x);
  g.groups = p.G;
  g.source_group = p.channels_per_group() * x.channel;
  g.rows = p.N * p.out_pixels();
  g.depth = p.taps() * p.channels_per_group();
  g.columns = p.filters_per_group();
  return g;
}

/// One residue class of dx; `filters` are packed for all of them, and `transposed` again for those that want it so.
PatchGemm backward_product(const ConvProblem& p, const Volume& dy, const Volume& dx, const float* filters,
                           const float* transposed, const ConvPhase (&phase)[3]) {
  PatchGemm g{};
  g.gather = conv_gradient_patches(p, dy, phase);
  g.groups = p.G;
  g.source_group = p.filters_per_group() * dy.channel;
  g.rows = p.N * phase[0].count * phase[1].count * phase[2].count;
  g.depth = phase[0].taps * phase[1].taps * phase[2].taps * p.filters_per_group();
  g.columns = p.channels_per_group();
  const size_t offset = filters ? conv_phase_filter_offset(p, phase) : 0;
  g.filter = filters ? filters + offset : nullptr;
  g.narrow_filter = transposed ? transposed + offset : nullptr;
  g.out = dx;
  for (int a = 0; a < 3; ++a) {
    g.out.data += phase[a].first * dx.axis[a];
    g.out.axis[a] *= p.stride[a];
  }
  return g;
}

/// Whether dx of a zero-padded problem is added up from runs; else each class is a product.
bool is_by_runs(const ConvProblem& p) {
  if (!conv_runs_usable(p)) return false;
  constexpr double kWide = 0.9;  // of products with lanes along channels, which have larger tiles
  double steps = 0;
  conv_for_each_phase(p, [&](const ConvPhase(&phase)[3]) {
    const PatchGemm g = backward_product(p, Volume{}, Volume{}, nullptr, nullptr, phase);
    if (g.depth > 0) steps += patch_gemm_steps(g) * (patch_gemm_is_narrow(g) ? 1.0 : kWide);
  });
  return conv_runs_steps(p) < steps;
}

/// Filters packed and, where that is wanted, transposed: what may be kept.
struct ForwardFilters {
  float *packed, *transposed;
  size_t bytes;
  ForwardFilters(const PatchGemm& g, void* base) {
    FloatArena arena(base);
    packed = arena.take(packed_filter_floats(g.groups, g.depth, g.columns));
    transposed = arena.take(patch_gemm_is_narrow(g) ? packed_filter_floats(g.groups, g.depth, g.columns) : 0);
    bytes = arena.bytes();
  }
};

struct ForwardSpace {
  float *filters, *prologue, *scale, *bias, *scratch;
  size_t scratch_floats, bytes;
  /// With `kept`, filters lie there.
  ForwardSpace(const ConvProblem& p, int threads, void* kept, void* base) {
    FloatArena arena(base);
    const PatchGemm g = forward_product(p, Volume{});
    filters = static_cast<float*>(kept);
    if (!kept) filters = arena.take(ForwardFilters(g, nullptr).bytes / sizeof(float));
    prologue = arena.take(p.prologue.scale_shift ? 2 * p.C : 0);
    scale = arena.take(p.epilogue.scale ? p.K : 0);
    bias = arena.take(p.epilogue.bias ? p.K : 0);
    scratch_floats = patch_gemm_scratch_floats(g);
    scratch = arena.take(threads * scratch_floats);
    bytes = arena.bytes();
  }
};

struct BackwardInputSpace {
  float *padded, *runs = nullptr, *filters = nullptr, *transposed = nullptr, *scratch = nullptr;
  size_t scratch_floats = 0, bytes;
  BackwardInputSpace(const ConvProblem& p, int threads, void* base) {
    FloatArena arena(base);
    const ConvProblem inner = conv_needs_fold(p) ? conv_with_padding_inside(p) : p;
    padded = arena.take(conv_needs_fold(p) ? p.N * inner.in_pixels() * p.C : 0);
    if (is_by_runs(inner))
      runs = arena.take(conv_runs_floats(inner, threads));
    else
      take(inner, threads, arena);
    bytes = arena.bytes();
  }

 private:
  void take(const ConvProblem& inner, int threads, FloatArena& arena) {
    const int64_t depth = inner.taps() * inner.filters_per_group(), columns = inner.channels_per_group();
    filters = arena.take(packed_filter_floats(inner.G, depth, columns));
    bool narrow = false;
    conv_for_each_phase(inner, [&](const ConvPhase(&phase)[3]) {
      const PatchGemm g = backward_product(inner, Volume{}, Volume{}, nullptr, nullptr, phase);
      scratch_floats = std::max(scratch_floats, patch_gemm_scratch_floats(g));
      narrow = narrow || patch_gemm_is_narrow(g);
    });
    transposed = arena.take(narrow ? packed_filter_floats(inner.G, depth, columns) : 0);
    scratch = arena.take(threads * scratch_floats);
  }
};

/// dx of a zero-padded problem.
void backward_input_zeros(const ConvProblem& p, const Volume& dy, const Volume& dx, const Volume& w,
                          const BackwardInputSpace& space, int threads) {
  if (space.runs) return conv_runs_backward_input(p, dy, dx, w, space.runs, threads);
  conv_pack_backward_input(p, w, space.filters, threads);
  const int64_t phases[3] = {conv_phases(p, 0), conv_phases(p, 1), conv_phases(p, 2)};
  if (p.N * p.in_pixels() * p.C == 0) return;
  int64_t phase_tasks = 0;
  conv_for_each_phase(p, [&](const ConvPhase(&phase)[3]) {
    const PatchGemm g = backward_product(p, dy, dx, space.filters, space.transposed, phase);
    phase_tasks = std::max(phase_tasks, patch_gemm_tasks(g));
    if (patch_gemm_is_narrow(g))
      patch_gemm_transpose_filter(g, space.transposed + conv_phase_filter_offset(p, phase));
  });
  // The classes take turns, so that together they write stretches of dx without gaps, which the caches fetch ahead.
  const int64_t classes = phases[0] * phases[1] * phases[2];
  parallel_for(
      classes * phase_tasks,
      [&](int64_t task, int slot) {
        const int64_t i = task % classes, part = task / classes;
        const ConvPhase phase[3] = {conv_phase(p, 0, i / phases[2] / phases[1]),
                                    conv_phase(p, 1, i / phases[2] % phases[1]),
                                    conv_phase(p, 2, i % phases[2])};
        const PatchGemm g = backward_product(p, dy, dx, space.filters, space.transposed, phase);
        if (part < patch_gemm_tasks(g)) patch_gemm_task(g, part, space.scratch + slot * space.scratch_floats);
      },
      threads);
}

}  // namespace

void conv_set_prologue(const ConvArgs& args, float* vectors, Gather* gather) {
  const ConvProblem& p = *args.problem;
  gather->relu = p.prologue.activation == Unary::relu;
  if (!p.prologue.scale_shift) return;
  conv_copy_vector(args.scale, p.C, vectors);
  conv_copy_vector(args.shift, p.C, vectors + p.C);
  gather->scale = vectors;
  gather->shift = vectors + p.C;
}

size_t conv_im2col_forward_bytes(const ConvProblem& p, int threads) {
  return ForwardSpace(p, threads, nullptr, nullptr).bytes;
}

void conv_im2col_forward(const ConvArgs& args) {
  const ConvProblem& p = *args.problem;
  const ForwardSpace space(p, args.threads, args.filters, args.workspace);
  const Volume x = volume(args.x);
  PatchGemm g = forward_product(p, x);
  const ForwardFilters filters(g, space.filters);
  conv_set_prologue(args, space.prologue, &g.gather);
  g.filter = filters.packed;
  g.narrow_filter = filters.transposed;
  g.out = volume(args.y);
  g.low = p.epilogue.low();
  g.high = p.epilogue.high();
  if (p.epilogue.bias) g.bias = conv_copy_vector(args.bias, p.K, space.bias);
  if (p.epilogue.scale) g.scale = conv_copy_vector(args.filter_scale, p.K, space.scale);
  if (p.epilogue.residual) g.residual = volume(args.residual);
  if (g.rows == 0) return;
  if (!args.filters_filled) {
    conv_pack_forward(p, volume(args.w), filters.packed, args.threads);
    if (patch_gemm_is_narrow(g)) patch_gemm_transpose_filter(g, filters.transposed);
  }
  parallel_for(
      patch_gemm_tasks(g),
      [&](int64_t task, int slot) { patch_gemm_task(g, task, space.scratch + slot * space.scratch_floats); },
      args.threads);
}

size_t conv_im2col_backward_input_bytes(const ConvProblem& p, int threads) {
  return BackwardInputSpace(p, threads, nullptr).bytes;
}

void conv_im2col_backward_input(const ConvArgs& args) {
  const ConvProblem& p = *args.problem;
  const BackwardInputSpace space(p, args.threads, args.workspace);
  const Volume dx = volume(args.x), dy = volume(args.y), w = volume(args.w);
  if (!conv_needs_fold(p)) {
    backward_input_zeros(p, dy, dx, w, space, args.threads);
    return;
  }
  const ConvProblem inside = conv_with_padding_inside(p);
  const Volume padded = channels_last_volume(space.padded, inside.in, p.C);
  backward_input_zeros(inside, dy, padded, w, space, args.threads);
  conv_fold_padding(p, padded, dx, args.threads);
}

const char* conv_im2col_unsupported(const ConvProblem& p, Pass, const DeviceProps&) {
  return p.dtype == DType::float32 ? nullptr : "float32 only";
}

ConvFilters conv_im2col_filters(const ConvProblem& p, Pass pass) {
  if (pass != Pass::forward) return {};
  const PatchGemm g = forward_product(p, Volume{});
  return {ForwardFilters(g, nullptr).bytes, patch_gemm_is_narrow(g)};
}

size_t conv_im2col_workspace_bytes(const ConvProblem& p, Pass pass, const DeviceProps& props) {
  switch (pass) {
    case Pass::forward: return conv_im2col_forward_bytes(p, props.threads);
    case Pass::backward_input: return conv_im2col_backward_input_bytes(p, props.threads);
    default: return conv_im2col_backward_weight_bytes(p, props.threads);
  }
}

namespace {

/// What makes a product slower than its multiply-adds: gathered elements, and lanes without work.
struct Shape {
  bool gathers = false, narrow = false, by_runs = false;
  Shape(const ConvProblem& p, Pass pass) {
    if (pass == Pass::backward_weight) {
      gathers = !conv_im2col_weight_is_narrow(p);
    } else if (pass == Pass::forward) {
      add(forward_product(p, Volume{}));
    } else if (is_by_runs(p)) {
      by_runs = true;
    } else {
      conv_for_each_phase(p, [&](const ConvPhase(&phase)[3]) {
        const PatchGemm g = backward_product(p, Volume{}, Volume{}, nullptr, nullptr, phase);
        if (g.depth > 0) add(g);
      });
    }
  }
  void add(const PatchGemm& g) {
    gathers = gathers || patch_gemm_gathers(g);
    narrow = narrow || patch_gemm_is_narrow(g);
  }
};

}  // namespace

double conv_im2col_cost(const ConvProblem& p, Pass pass, const DeviceProps& props) {
  // Multiply-adds at 60 % of a nominal peak, in whole vectors of columns, plus patches and filters as bytes.
  const double lanes = props.isa == "avx512" ? 16 : props.isa == "avx2" ? 8 : 4;
  const double gflops = lanes * (lanes > 4 ? 6 : 3);  // 96, 48, 12 per thread
  const double patch = double(p.channels_per_group()) * double(p.taps()),
               filters = double(p.filters_per_group());
  const Shape shape(p, pass);
  const double columns = pass == Pass::forward          ? filters
                         : shape.by_runs                ? double(p.C * p.filter[2])
                         : pass == Pass::backward_input ? p.channels_per_group()
                                                        : std::max(patch, filters);
  double waste = std::ceil(columns / lanes) * lanes / std::max(columns, 1.0);
  if (shape.narrow && p.G == 1) waste = std::min(waste, 1.5);
  const double depth = pass == Pass::backward_input ? filters * double(p.taps()) : patch;
  double gathered = 4.0 * double(p.N) * double(p.out_pixels()) * double(p.G) * depth;
  if (!shape.gathers &&
      p.G == 1) {  // the source is copied once, at most; groups' short products cost more than that
    const double source = pass == Pass::backward_input ? double(p.out_pixels()) * double(p.K)
                                                       : double(p.in_pixels()) * double(p.C);
    gathered = 4.0 * double(p.N) * source;
  }
  const double packed = 4.0 * double(p.K) * patch, compute = p.flops() * waste / gflops;
  // Forward must have the same bits in training and in evaluation, where filters are kept and packing them is rare.
  const double with_filters =
      pass == Pass::forward ? std::max(compute, packed / 15) + packed / 10 : compute + packed / 2;
  return 4.0 + (with_filters + gathered / 8) / 1e3;
}

void conv_im2col_run(const ConvArgs& args, Pass pass, void*) {
  switch (pass) {
    case Pass::forward: return conv_im2col_forward(args);
    case Pass::backward_input: return conv_im2col_backward_input(args);
    default: return conv_im2col_backward_weight(args);
  }
}

}  // namespace fastcnn::cpu
