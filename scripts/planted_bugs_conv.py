"""The bugs that scripts/planted_bugs.py plants in convolutions (scripts/planted_bugs_list.py has the others)."""

from __future__ import annotations

from planted_bug import Bug, bug

CONV = "tests/test_conv.py"
CHOICE = "tests/test_conv_choice.py"
ON_CUDA = "tests/test_conv_cuda.py"
PINNED = "tests/test_pinned.py"
TF32 = (
    "vset([](float f) { uint32_t u; __builtin_memcpy(&u, &f, 4); u &= 0xFFFFE000u; __builtin_memcpy(&f, &u, 4); "
    "return f; }(a[i / 3][(i % 3) * a_row]))"
)

CONV_BUGS: tuple[Bug, ...] = (
    # ---- convolution: the direct row ----
    bug(
        "direct drops the last channel", "csrc/cpu/conv_direct.cpp",
        "for (int64_t c = 0; c < Cg; ++c) sum += load(n, c0 + c, at) * A(w.at(k, c, tap));",
        "for (int64_t c = 0; c < Cg - (Cg > 1); ++c) sum += load(n, c0 + c, at) * A(w.at(k, c, tap));",
        "every output of the direct row with several channels", CONV,
    ),
    bug(
        "direct accumulates float64 in float32", "csrc/cpu/conv_direct.cpp",
        "struct Direct {\n  using A = Accumulator<T>;", "struct Direct {\n  using A = float;",
        "float64 results have float32 errors", CONV,
    ),
    bug(
        "direct accumulates float16 in float16", "csrc/cpu/conv_direct.cpp",
        "sum += load(n, c0 + c, at) * A(w.at(k, c, tap));",
        "sum = A(T(sum + load(n, c0 + c, at) * A(w.at(k, c, tap))));",
        "16-bit sums round at every step", CONV,
    ),
    bug(
        "direct leaves the bias out beside a residual", "csrc/cpu/conv_direct.cpp",
        "if (p.epilogue.bias) sum += A(bias[k]);", "if (p.epilogue.bias && !p.epilogue.residual) sum += A(bias[k]);",
        "missing bias in one fused combination", CHOICE,
    ),
    bug(
        "direct multiplies the padding", "csrc/cpu/conv_direct.cpp",
        "if (at[2] >= 0) f(tap, at);", "if (at[2] < 0) at[2] = 0;\n        f(tap, at);",
        "padding taps read the first column", CONV,
    ),
    bug(
        "reflect repeats the edge cell", "csrc/common/conv_problem.h",
        "case PadMode::reflect: return i < 0 ? -i : 2 * (extent - 1) - i;",
        "case PadMode::reflect: return i < 0 ? -i : 2 * extent - 1 - i;",
        "reflect padding behind the input", CONV,
    ),
    # ---- copies between the host and a card, on the emulated one ----
    bug(
        "pinned: the host goes on though it was not told so, to the card", "csrc/cuda/runtime.cu",
        "if (!wait && memory.type == cudaMemoryTypeHost) return true;",
        "if ((!wait || true) && memory.type == cudaMemoryTypeHost) return true;",
        "the card reads what was written later", PINNED,
    ),
    bug(
        "pinned: the host goes on though it was not told so, to the host", "csrc/cuda/runtime.cu",
        "if (!wait && is_page_locked(host)) return true;", "if ((!wait || true) && is_page_locked(host)) return true;",
        "the host reads what is not there yet", PINNED,
    ),
    bug(
        "pinned: memory is used again before the copies are done", "csrc/cuda/streams.cu",
        "leaving().add(numbers().ends_of(device, streams & ~kUnknownStreams), std::move(owner));",
        "leaving().add({}, std::move(owner));", "a copy takes bytes of the next tensor", PINNED,
    ),
    # ---- convolution: CUDA's rows, on the emulated card ----
    bug(
        "cuda im2col: a smaller chunk overwrites the weights' sums", "csrc/cuda/conv_im2col.cu",
        "store(to, p.add ? load(to) + sum : sum);", "store(to, sum);", "weight gradients within a workspace limit",
        ON_CUDA,
    ),
    bug(
        "cuda im2col: cells read as if strides were 1", "csrc/cuda/conv_im2col.cu",
        "p.v.axis[1].sources(ih, r, j, oh); ++j)", "p.v.axis[1].sources(ih, 0, j, oh); ++j)",
        "gradients of x with several taps", ON_CUDA,
    ),
    bug(
        "mma: filters beyond the last are not cut off", "csrc/cuda/conv_mma_product.cuh",
        "const bool inside = tap.inside && column < p.v.filters;", "const bool inside = tap.inside;",
        "reads behind the packed filters of the last group", ON_CUDA,
    ),
    bug(
        "mma: every phase of a stride reads the first one's taps", "csrc/cuda/conv_mma_run.cuh",
        "r.tap_first = t;", "r.tap_first = 0;", "gradients of x at strides", ON_CUDA,
    ),
    bug(
        "mma: the wait for copies lets one step too many by", "csrc/cuda/mma_tile.cuh",
        "ptx::copy_wait<kMmaStages - 2>();", "ptx::copy_wait<kMmaStages - 1>();", "operands still on their way",
        ON_CUDA,
    ),
    bug(
        "mma: the first part of the depth stands for all", "csrc/cuda/conv_mma_weight.cuh",
        "const int begin = split * p.per_split,", "const int begin = 0 * split * p.per_split,",
        "weight gradients in several parts", ON_CUDA,
    ),
    bug(
        "tf32: operands cut off, not rounded", "csrc/cuda/mma_kind.cuh",
        "words[i] + 0x1000u : words[i];", "words[i] : words[i];", "twice the error, all on one side", ON_CUDA,
    ),
    bug(
        "tf32: columns of a fragment in the order of rows", "csrc/cuda/mma_tile.cuh",
        "8 * (kLinesFirst ? m % 2 : m / 2)", "8 * (kLinesFirst ? m % 2 : m % 2)", "weight gradients", ON_CUDA,
    ),
    bug(
        "tf32x3: a product is left out", "csrc/cuda/mma_tile.cuh",
        "kParts == 1 ? 2 : 0;", "kParts == 1 ? 2 : 1;", "the error of one operand rounded to tf32", ON_CUDA,
    ),
    bug(
        "tf32x3: sums stay in the tensor cores", "csrc/cuda/mma_tile.cuh",
        "if constexpr (kParts == 1) {", "if constexpr (kParts < 3) {", "errors of a long sum pile up", ON_CUDA,
    ),
    bug(
        "tf32x3: small is what rounding left of big", "csrc/cuda/mma_kind.cuh",
        "__uint_as_float(words[i]) - __uint_as_float(parts[0][i])", "__uint_as_float(words[i] & 0x1fffu)",
        "small parts of the wrong size", ON_CUDA,
    ),
    # ---- convolution: im2col ----
    bug(
        "gather: circular padding one cell off", "csrc/cpu/kernels/gather.inl",
        "case kPadCircular: return position < 0 ? position + extent : position - extent;",
        "case kPadCircular: return position < 0 ? position + extent - 1 : position - extent;",
        "circular padding before the input", CONV,
    ),
    bug(
        "gather: a row before the tensor is taken for padding", "csrc/cpu/kernels/gather.inl",
        "if (line == kNoLine) {", "if (line < 0) {", "inputs with negative strides", CONV,
    ),
    bug(
        "gather: prologue on the padding", "csrc/cpu/kernels/gather.inl",
        "gather_index(position, w->extent, g->padding) < 0)\n      continue;",
        "gather_index(position, w->extent, kPadReplicate) < 0)\n      continue;",
        "the shift of a fused normalisation leaks into the zeros beside a row", CHOICE,
    ),
    bug(
        "gemm: tile edge advances by a whole tile", "csrc/cpu/kernels/gemm.inl",
        "row += rows;", "row += kRows;", "rows between two unequal tiles", CONV,
    ),
    bug(
        "gemm: no mask at the last column", "csrc/cpu/kernels/gemm.inl",
        "return gemm_panel<NV>(t, t->n - (NV - 1) * kLanes);", "return gemm_panel<NV>(t, kLanes);",
        "whole vectors are stored over the neighbours of a narrow block", CONV, CHOICE,
    ),
    bug(
        "gemm: later pieces of a dot product overwrite", "csrc/cpu/gemm_stream.cpp",
        "t.accumulate = 2;", "t.accumulate = 0;", "linear layers on few rows and long depths", "tests/test_linear.py",
    ),
    bug(
        "gemm: later rows of the weights overwrite", "csrc/cpu/gemm_stream.cpp",
        "t.accumulate = 1;", "t.accumulate = 0;", "input gradients of few rows", "tests/test_linear.py",
    ),
    bug(
        "gemm: ten bits of mantissa", "csrc/cpu/kernels/gemm.inl",
        "vset(a[i / 3][(i % 3) * a_row])", TF32, "TF32 where float32 is claimed", CONV,
    ),
    bug(
        "vec: tail mask one lane too wide", "csrc/cpu/kernels/vec.h",
        "return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));",
        "return _mm256_cmpgt_epi32(_mm256_set1_epi32(n + 1), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));",
        "AVX2 tails touch one element too many", CONV, CHOICE, isa="avx2",
    ),
    bug(
        "vec: AVX-512 tail loses a lane", "csrc/cpu/kernels/vec.h",
        "return static_cast<Mask>((1u << n) - 1u);", "return static_cast<Mask>((1u << n) / 2u);",
        "AVX-512 tails keep one lane, the wrong one", CONV, isa="avx512",
    ),
    bug(
        "patch gemm: bias of the first group for all", "csrc/cpu/patch_gemm.cpp",
        "values[j] += p.bias[channel + j];", "values[j] += p.bias[j];", "bias of later groups and parts", CONV,
    ),
    bug(
        "patch gemm: depth steps overwrite each other", "csrc/cpu/patch_gemm.cpp",
        "t.accumulate = k > 0;", "t.accumulate = 0;", "sums longer than one step", CONV,
    ),
    bug(
        "im2col: threads share their scratch", "csrc/cpu/conv_im2col.cpp",
        "patch_gemm_task(g, task, space.scratch + slot * space.scratch_floats); },",
        "patch_gemm_task(g, task, space.scratch + 0 * slot * space.scratch_floats); },",
        "a race: one task gathers over another's patches", CONV,
    ),
    bug(
        "im2col: a phase of a strided gradient ends early", "csrc/cpu/conv_patches.cpp",
        "phase.count = div_up(p.in[axis] - index, stride);", "phase.count = p.in[axis] / stride;",
        "last rows of dx at stride above 1", CONV,
    ),
    bug(
        "im2col: filters not turned round in backward_input", "csrc/cpu/conv_patches.cpp",
        "(phase[2].tap_first - s * phase[2].tap_down) * w.axis[2],", "s * phase[2].tap_down * w.axis[2],",
        "dx with the filter's columns mirrored", CONV,
    ),
    bug(
        "im2col: the last partial sum of dw is lost", "csrc/cpu/conv_im2col_weight.cpp",
        "sum_rows(from, cut.splits,", "sum_rows(from, std::max<int64_t>(1, cut.splits - 1),",
        "weight gradients of many pixels", CONV,
    ),
    bug(
        "im2col: workspace short of the tail vectors", "csrc/cpu/conv_im2col_weight.cpp",
        "kBlockPixels * (odd_lines(cut.chunk_rows) + odd_lines(cut.chunk_columns));",
        "kBlockPixels * (cut.chunk_rows + cut.chunk_columns);",
        "more memory is written than was stated and taken", CHOICE,
    ),
    bug(
        "fold: padding cells behind the input are forgotten", "csrc/cpu/conv_patches.cpp",
        "for (int64_t q = low + n; q < low + n + high; ++q)", "for (int64_t q = low + n; q + 1 < low + n + high; ++q)",
        "dx of reflect, replicate and circular padding", CONV,
    ),
    bug(
        "gemm: the epilogue's residual of the first rows for all", "csrc/cpu/kernels/gemm.inl",
        "f.residual ? f.residual + first_row * f.residual_row : nullptr", "f.residual",
        "additions behind a convolution of many pixels", "tests/test_conv_norm.py",
    ),
    bug(
        "fold: the convolution's own bias is forgotten", "csrc/cpu/norm_fold.cpp",
        "(at(p.before, k, 0) - at(p.mean, k, 0)) * s", "(0 - at(p.mean, k, 0)) * s",
        "batch norm behind a convolution with a bias", "tests/test_conv_norm.py",
    ),
    bug(
        "kept filters: those of another layout are taken", "csrc/memory/kept.cpp",
        "key.layout == k.layout && key.bytes == k.bytes", "key.bytes >= k.bytes",
        "Winograd filters of larger tiles serve smaller ones", "tests/test_kept_filters.py",
    ),
    bug(
        "kept filters: arrays of others are not told", "csrc/memory/kept.cpp",
        "return t.storage->views.load() == 0 &&", "return",
        "a NumPy array of the weights is written between two calls", "tests/test_kept_filters.py",
    ),
    bug(
        "depthwise filter gradients pixel by pixel leave out the last channels",
        "csrc/cpu/kernels/depthwise_pixel_sums.inl",
        "if (whole < d->channels) pixel", "if (whole + kLanes < d->channels) pixel",
        "channels that fill no vector", "tests/test_conv_algos.py",
    ),
    bug(
        "runs: a step of one pixel, whatever the stride", "csrc/cpu/conv_im2col_runs.cpp",
        "to_line, p.stride[2] * p.C, z,", "to_line, p.C, z,",
        "dx of few channels and a stride", "tests/test_conv_runs.py",
    ),
    bug(
        "filter rows in blocks begin where the first one does", "csrc/cpu/kernels/gemm.inl",
        "group[g] = block * t->block_step +", "group[g] = 0 * block * t->block_step +",
        "filter gradients of a first layer with one channel", "tests/test_conv_algos.py",
    ),
    bug(
        "depthwise: a corner of the filter is another", "csrc/cpu/kernels/depthwise_spread.inl",
        "lanes), tap(0, 0), sum[1][1]);", "lanes), tap(0, 2), sum[1][1]);",
        "dx of depthwise layers at stride 2", CONV,
    ),
    bug(
        "interleave: the third pair of channels is the second", "csrc/cpu/kernels/interleave.inl",
        "_mm512_permutex2var_ps(in[2 * p], index, second)", "_mm512_permutex2var_ps(in[2], index, second)",
        "planes of six channels to pixels", "tests/test_layout_copy.py", isa="avx512",
    ),
    bug(
        "planar: rows of the filter without dilation", "csrc/cpu/conv_planar.cpp",
        "r * p.dilation[1] * planes.width}", "r * planes.width}", "y of dilated filters",
        "tests/test_conv_planar.py",
    ),
    bug(
        "planar: a bias beside a scale is forgotten", "csrc/cpu/conv_planar.cpp",
        "bias = p.epilogue.bias ? space.bias[k] : 0.0f;", "bias = 0.0f;",
        "y with a bias and a scale of the filters", "tests/test_conv_norm.py",
    ),
    bug(
        "Winograd: the first block's tiles for both", "csrc/cpu/conv_winograd_product.cpp",
        "if (own && loaded[slot] != b + 1) {", "if (own && !loaded[slot]) {",
        "outputs of the other half of the batch, on two threads and more", "tests/test_conv_winograd.py",
    ),
    bug(
        "Winograd dw: splits follow the threads", "csrc/cpu/conv_winograd_weight.cpp",
        "splits = splits > 1 ? splits / 2 * 2 : 1;", "splits = splits > 1 ? std::min<int64_t>(threads, splits) : 1;",
        "bits of dw depend on the number of threads", "tests/test_conv_winograd.py",
    ),
    bug(
        "Winograd dw: two threads transform tiles into one place", "csrc/cpu/conv_winograd_weight.cpp",
        "(cut.apart ? slot : 0) * span_floats", "(cut.apart ? 0 : 0) * span_floats",
        "a race", "tests/test_conv_winograd.py",
    ),
    # ---- convolution: depthwise ----
    bug(
        "depthwise: tail drops the last channel", "csrc/cpu/kernels/depthwise_rows.inl",
        "(int)(last - b.channel)", "(int)(last - b.channel - 1)",
        "channels that do not fill a vector", CONV,
    ),
    bug(
        "depthwise: pixels of a group of four share an address", "csrc/cpu/kernels/depthwise.inl",
        "const float* at = x + i * d->source_step;", "const float* at = x + (i & 2) * d->source_step;",
        "every second pixel of a row", CONV,
    ),
    bug(
        "depthwise: order of sums follows the threads", "csrc/cpu/conv_depthwise_weight.cpp",
        "splits = DepthwiseSpace::splits(p);",
        "splits = std::min<int64_t>(DepthwiseSpace::splits(p), args.threads);",
        "bits of dw depend on the number of threads", CONV,
    ),
    bug(
        "depthwise: a task clears its neighbour's last sum", "csrc/cpu/conv_depthwise_weight.cpp",
        "std::fill_n(partial, taps * (last - first), 0.0f);",
        "std::fill_n(partial - (task > 0), taps * (last - first), 0.0f);",
        "a race for the border of two tasks", CONV,
    ),
    bug(
        "depthwise: copies of another call's lines are taken for this one's", "csrc/cpu/conv_depthwise.h",
        "std::fill_n(copied, count, int64_t(-1));", "(void)count;",
        "a second call with other data", CONV, CHOICE,
    ),
    bug(
        "depthwise: lines that are read together share a place", "csrc/cpu/conv_depthwise.h",
        "t * plane_count + h % plane_count", "t * plane_count + h % 2",
        "three lines where two are kept", CONV,
    ),
    bug(
        "depthwise dw: rows of dy together meet the wrong tap", "csrc/cpu/kernels/depthwise_row_sums.inl",
        "if (l - o >= 0 && l - o < 3) sum[l - o][s]", "if (l - o >= 0 && l - o < 3) sum[2 - l + o][s]",
        "dw of 3x3 filters at stride 1", "tests/test_conv_algos.py",
    ),
    bug(
        "depthwise: the last line of four rows is forgotten", "csrc/cpu/conv_depthwise.cpp",
        "reach = 3 + (rows - 1) * stride", "reach = 2 + (rows - 1) * stride", "y of 3x3 filters",
        "tests/test_conv_algos.py",
    ),
    bug(
        "depthwise: lists of lines one short", "csrc/cpu/conv_depthwise.h",
        "list_floats = (2 * p.taps() + lines) *", "list_floats = (2 * p.taps()) *",
        "lines gathered over the list of their addresses", CONV, CHOICE,
    ),
    bug(
        "expand+depthwise: a band forgets the last row of the one before", "csrc/cpu/expand_depthwise.cpp",
        "std::memmove(wide, wide + (from - base) * line, (have - from) * line * sizeof(float));",
        "std::memmove(wide, wide + (from - base) * line, (have - from - 1) * line * sizeof(float));",
        "rows at the border of two bands", "tests/test_expand_depthwise.py",
    ),
    bug(
        "expand+depthwise: filters are taken for filled", "csrc/ops/conv_pair.cpp",
        "args.filters_filled = keeps_ && kept_.filled();", "args.filters_filled = true;",
        "the first call reads filters that nobody packed", "tests/test_expand_depthwise.py",
    ),
    # ---- convolution: geometry and choice ----
    bug(
        "plan: twice the limit is allowed", "csrc/common/algo.cpp",
        "bytes > request.workspace_limit", "bytes / 2 > request.workspace_limit",
        "workspace_limit is not kept", CHOICE,
    ),
    bug(
        "plan: the dearest row wins", "csrc/common/algo.cpp", "cost < best_cost", "cost > best_cost",
        "auto is slow", CHOICE,
    ),
    bug(
        "plan: a preference is an error", "csrc/common/algo.cpp",
        "if (named && request.strict)", "if (named)", "prefer_algo raises where the row cannot run", CHOICE,
    ),
    bug(
        "same: odd cell on the wrong side", "csrc/common/conv_problem.cpp",
        'name == "same" ? total / 2 : total - total / 2', 'name == "same" ? total - total / 2 : total / 2',
        "even kernels with padding by name", "tests/test_conv_padding.py",
    ),
    bug(
        "output size rounds up", "csrc/common/conv_problem.cpp",
        "room / stride + 1", "(room + stride - 1) / stride + 1", "shapes at stride above 1",
        "tests/test_conv_padding.py",
    ),
    bug(
        "empty output skips the checks", "csrc/ops/conv.cpp",
        "const ConvPlan chosen = plan(conv_table(props)",
        "if (output.numel() == 0) return;\n  const ConvPlan chosen = plan(conv_table(props)",
        "a wrong algo passes unnoticed on an empty batch", CONV, "tests/test_conv_errors.py",
    ),
    bug(
        "transposed: limits of the wrong pass", "fastcnn/functional/conv_transpose.py",
        "rows = (backward_input, forward, backward_weight)", "rows = (forward, backward_input, backward_weight)",
        "a dict per pass reaches the other pass", "tests/test_conv_transpose.py",
    ),
    bug(
        "transposed: output_padding above the stride", "fastcnn/functional/conv_transpose.py",
        "beyond = max(extra - back, 0)", "beyond = 0", "rows behind what the input reaches",
        "tests/test_conv_transpose.py",
    ),
)  # fmt: skip
