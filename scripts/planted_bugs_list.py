"""The bugs that scripts/planted_bugs.py plants, one at a time: each is the smallest slip of its kind.

`text` stands exactly once in `file` (tests/test_planted_bugs.py sees to it), and is replaced by `becomes`. `tests` is
what pytest is given; those tests must pass as the code is and fail with the bug. A bug in a kernel that this machine
cannot run is left out, and said so: `isa`. Bugs in CUDA kernels are planted in a build that emulates the card.
"""

from __future__ import annotations

from planted_bug import Bug, bug
from planted_bugs_conv import CONV_BUGS

CONV = "tests/test_conv.py"
CHOICE = "tests/test_conv_choice.py"
RULES = "tests/test_kernel_rules.py"
GRADIENT_MEMORY = "tests/test_gradient_memory.py"

BUGS: tuple[Bug, ...] = (
    *CONV_BUGS,
    # ---- pointwise, reductions, softmax ----
    bug(
        "relu swallows NaN", "csrc/common/pointwise_formulas.inl",
        "FC_UNARY(Relu, x < 0 ? A(0) : x)", "FC_UNARY(Relu, x > 0 ? x : A(0))", "relu(NaN) is 0",
        RULES,
    ),
    bug(
        "relu's gradient at 0", "csrc/common/pointwise_formulas.inl",
        "FC_BINARY(ReluBackward, b <= 0 ? A(0) : a)", "FC_BINARY(ReluBackward, b < 0 ? A(0) : a)",
        "gradient 1 at exactly 0", RULES,
    ),
    bug(
        "max loses NaN", "csrc/cpu/reduce.cpp",
        "return ((kMax ? b > a : b < a) || is_nan(b)) ? b : a;", "return (kMax ? b > a : b < a) ? b : a;",
        "max and min over NaN", RULES,
    ),
    bug(
        "argmax takes the last of equals", "csrc/cpu/reduce.cpp",
        "if (a.value == b.value) return a.index < b.index ? a : b;",
        "if (a.value == b.value) return a.index > b.index ? a : b;", "ties", RULES,
    ),
    bug(
        "sum: a chunk ends one element early", "csrc/cpu/reduce.cpp",
        "const int64_t count = std::min(kBlock, run_end - i);",
        "const int64_t count = std::min(kBlock, std::max<int64_t>(run_end - i - 1, 1));",
        "sums longer than a block", RULES,
    ),
    bug(
        "softmax: gradient without its sum", "csrc/cpu/kernels/softmax.inl",
        "v[l] = v[l] * (g[l] - sum);", "v[l] = v[l] * g[l];", "dx of softmax", "tests/test_softmax.py",
    ),
    # ---- normalisation ----
    bug(
        "batch norm: biased running variance", "csrc/cpu/norm.cpp",
        "new_var += total.m2 / (total.count - 1) / samples;", "new_var += total.m2 / total.count / samples;",
        "running_var", "tests/test_norm.py",
    ),
    bug(
        "batch norm: unbiased variance to normalise", "csrc/cpu/norm.cpp",
        "std::sqrt(total.m2 / total.count + p.eps)", "std::sqrt(total.m2 / (total.count - 1) + p.eps)",
        "y in training", "tests/test_norm.py",
    ),
    bug(
        "norm: blocks merged without the distance of their means", "csrc/cpu/kernels/norm.inl",
        "m2[c] += block_m2 + delta * delta * both;", "m2[c] += block_m2;", "variance of many rows",
        "tests/test_norm.py",
    ),
    bug(
        "layer norm: eps outside the root", "csrc/cpu/kernels/row_norm_vec.inl",
        "(float)(1 / __builtin_sqrt(square + eps))", "(float)(1 / (__builtin_sqrt(square) + eps))",
        "rows of small variance", "tests/test_norm.py",
    ),
    bug(
        "local response norm: even windows lean forward", "csrc/cpu/local_response_norm.cpp",
        "int64_t low = p.size / 2,\n          high = (p.size - 1) / 2;",
        "int64_t low = (p.size - 1) / 2,\n          high = p.size / 2;",
        "even sizes", "tests/test_norm.py",
    ),
    # ---- losses ----
    bug(
        "cross entropy: mean over positions, not weights", "csrc/cpu/cross_entropy.cpp",
        "divisor = w(y);", "divisor = 1;", "weighted mean", "tests/test_loss.py",
    ),
    bug(
        "cross entropy: smoothing on top of the whole target", "csrc/cpu/cross_entropy.cpp",
        "loss = (1 - p.smoothing) * w(y) * cost(y);", "loss = w(y) * cost(y);", "label_smoothing",
        "tests/test_loss.py",
    ),
    bug(
        "huber: wrong offset of the line", "csrc/common/pointwise_loss.h",
        "delta * (d - 0.5 * delta)", "delta * (d - delta)", "large errors", "tests/test_loss.py",
    ),
    # ---- random numbers, dropout ----
    bug(
        "philox: counter off by one", "csrc/cpu/kernels/dropout_table.inl",
        "c0[i] = (uint32_t)block + (uint32_t)i;", "c0[i] = (uint32_t)block + (uint32_t)i + 1;",
        "masks of contiguous tensors", "tests/test_dropout.py",
    ),
    bug(
        "philox: nine rounds", "csrc/common/philox.h", "kPhiloxRounds = 10", "kPhiloxRounds = 9",
        "the frozen stream", "tests/test_random.py", "tests/test_dropout.py",
    ),
    bug(
        "backward overwrites a gradient that a function keeps", "fastcnn/autograd.py",
        "slots[index] = _alias(gradient) if known is None", "slots[index] = gradient if known is None",
        "the engine hands on a Tensor that others may hold", GRADIENT_MEMORY,
    ),
    bug(
        "backward overwrites a gradient that was asked for", "fastcnn/autograd.py",
        "found[slot] = _alias(g)", "found[slot] = g", "fastcnn.grad of a computed tensor", GRADIENT_MEMORY,
    ),
    bug(
        "batch norm's dx in the memory of the residual's gradient", "fastcnn/functional/norm.py",
        "dy._alone and (y is not None or not needs[3])", "dy._alone", "a residual without an activation",
        "tests/test_norm_fused.py",
    ),
    bug(
        "one more holder of a gradient counts as none", "csrc/memory/kept.cpp",
        "t.storage.use_count() == 1 && s->heir", "t.storage.use_count() <= 2 && s->heir",
        "a hook, a function or another path", GRADIENT_MEMORY,
    ),
    bug(
        "dropout: survivors scaled by 1 + p", "fastcnn/functional/dropout.py",
        "values or (1 / (1 - p) if p < 1", "values or (1 + p if p < 1", "mean of the output",
        "tests/test_dropout.py",
    ),
    bug(
        "dropout: the tail of a row is kept", "csrc/cpu/kernels/dropout_table.inl",
        "vstore_part(y + i, kept(i, vload_part(x + i, (int)left - i)), (int)left - i);",
        "vstore_part(y + i, vadd(vmul(vload_part(x + i, (int)left - i), scale), shift), (int)left - i);",
        "elements beyond the last whole vector", "tests/test_dropout.py",
    ),
    bug(
        "dropout: rows of channels-last memory take the block before", "csrc/cpu/kernels/dropout_table.inl",
        "istore(c0_ + c, iadd(c0, iset(1)));", "istore(c0_ + c, c0);",
        "masks of maps with more than eight pixels", "tests/test_dropout.py",
    ),
    # ---- optimizers ----
    bug(
        "sgd: Nesterov's terms the wrong way round", "csrc/common/optim_rules.inl",
        "(n[4] != 0 ? g + n[3] * a : a)", "(n[4] != 0 ? a + n[3] * g : a)", "nesterov", "tests/test_optim.py",
    ),
    bug(
        "adam: eps inside the root", "csrc/common/optim_rules.inl",
        "FC_RULE(Adam, 2, a += n[1] * (g - a); b = n[2] * b + n[3] * (g * g);\n"
        "        x -= n[0] * (a / (o_sqrt(b) / n[4] + n[5]));)",
        "FC_RULE(Adam, 2, a += n[1] * (g - a); b = n[2] * b + n[3] * (g * g);\n"
        "        x -= n[0] * (a / (o_sqrt(b + n[5]) / n[4]));)",
        "small gradients", "tests/test_optim.py",
    ),
    bug(
        "adamw: decay left out", "csrc/cpu/kernels/optim.inl", "    x *= shrink;\n", "", "decoupled weight decay",
        "tests/test_optim.py",
    ),
    bug(
        "optimizer: saved tensors are not told", "csrc/ops/optim.cpp",
        "changed(*params[i]);", "(void)params[i];",
        "backward after a step uses changed weights without an error", "tests/test_optim.py",
    ),
    # ---- memory ----
    bug(
        "allocator: a segment grows although its end is free", "csrc/memory/caching.cpp",
        "rounded - (free ? chunks[last].bytes : 0)", "rounded - (free ? 0 : 0)",
        "more is reserved than is missing", "tests/test_memory_allocator.py",
    ),
    bug(
        "allocator: blocks rounded to 64 bytes", "csrc/memory/caching.cpp",
        "SIZE_MAX / 2 : round_up(bytes, kAlignBytes);", "SIZE_MAX / 2 : round_up(bytes, 64);", "accounting of blocks",
        "tests/test_memory_allocator.py",
    ),
    bug(
        "allocator: a free gives back the request", "csrc/memory/caching.cpp",
        "stats.allocated_bytes -= c->rounded;", "stats.allocated_bytes -= c->requested;", "allocated_bytes creeps up",
        "tests/test_memory_allocator.py",
    ),
    bug(
        "allocator: chunks do not merge downwards", "csrc/memory/caching.cpp",
        "if (previous != kNoChunk && !chunks[previous].id) {",
        "if (previous == kNoChunk - 1 && !chunks[previous].id) {",
        "memory falls to pieces", "tests/test_memory_allocator.py",
    ),
    bug(
        "storage: the last view frees nothing", "csrc/memory/storage.h",
        "    allocator_for(device).free(block, streams.load());\n", "", "every tensor leaks",
        "tests/test_memory_allocator.py",
    ),
    bug(
        "activation mask: no bits, the output stays", "csrc/ops/activation_mask.cpp",
        "(saved_tensor_lets_go || !pack(dying))", "(true || !pack(dying))",
        "32 times the memory, the same gradients", "tests/test_saved_set.py",
    ),
    bug(
        "activation mask: bits of an output that was changed", "csrc/ops/activation_mask.cpp",
        "if (*last_version_ == version_ &&", "last_version_ = version_;\n    if (",
        "wrong gradients instead of an error", "tests/test_activation_mask.py",
    ),
    bug(
        "activation mask: a row that starts within a byte", "csrc/cpu/kernels/activation_mask.inl",
        "const uint8_t* pass = passes + skip;", "const uint8_t* pass = passes;",
        "gradients of other memory orders", "tests/test_activation_mask.py",
    ),
    bug(
        "trace: workspace tagged as temporary", "csrc/memory/workspace.h",
        "Category::workspace", "Category::temporary", "reports by category", CHOICE,
    ),
    bug(
        "limit: the very figure is refused", "csrc/memory/caching.cpp",
        "stats.allocated_bytes > stats.limit_bytes - rounded;", "stats.allocated_bytes >= stats.limit_bytes - rounded;",
        "set_limit(peak)", "tests/test_memory_allocator.py",
    ),
    # ---- pointwise formulas ----
    bug(
        "exp: 2^n in one step", "csrc/cpu/kernels/math.inl",
        "power_of_two(half) * power_of_two(t.n - half);", "power_of_two(half + (t.n - half));",
        "results from 2^128 on and below 2^-126", "tests/test_float_math.py",
    ),
    bug(
        "tanh: the sign is lost", "csrc/cpu/kernels/math.inl",
        "return with_sign(a < 0.625f ? near : far, x);", "return a < 0.625f ? near : with_sign(far, x);",
        "small negative numbers", "tests/test_float_math.py",
    ),
    bug(
        "transpose: whole tiles at the right edge", "csrc/cpu/kernels/transpose.inl",
        "if (m >= cols) break;", "", "what lies beside the target", "tests/test_layout_copy.py",
    ),
    bug(
        "sum of rows: the last row is left out", "csrc/cpu/kernels/reduce.inl",
        "for (int64_t r = 0; r < rows; ++r, x += stride)", "for (int64_t r = 1; r < rows; ++r, x += stride)",
        "sums over axes that are not innermost", "tests/test_reduction.py",
    ),
    bug(
        "sum of rows: the sum starts from the first row", "csrc/cpu/kernels/reduce.inl",
        "acc[v] = vzero();", "acc[v] = vadd(vset(-0.0f), vset(-0.0f));", "sums of negative zeros",
        "tests/test_reduction.py",
    ),
    # ---- replays ----
    bug(
        "replay: tensors made during the recording pass as constants", "csrc/bindings/bind_replay.cpp",
        "FC_CHECK(t.storage->era < era_,", "FC_CHECK(t.storage->era <= era_ + 1,",
        "random numbers are the same in every replay", "tests/test_replay.py",
    ),
    bug(
        "replay: intermediates live to the end", "csrc/bindings/bind_replay.cpp",
        "for (int number : step.done) known[size_t(number)] = Tensor();", "(void)step.done;",
        "a replay's peak is above the model's", "tests/test_replay.py",
    ),
    bug(
        "replay: a step holds its arguments", "csrc/bindings/replay.h",
        "if (place.number >= 0) *place.tensor = Tensor();", "(void)place;",
        "memory stays taken after a replay", "tests/test_replay.py",
    ),
    # ---- threads and instruction sets ----
    bug(
        "threads: the last task is dropped", "csrc/cpu/thread_pool.cpp",
        "if (task >= s.end) break;", "if (task + 1 >= s.end) break;", "ops on several threads", CONV,
    ),
    bug(
        "isa: entries of the table swapped", "csrc/cpu/isa.cpp",
        "found.push_back(avx2::table());", "found.push_back(baseline::table());", "AVX2 never runs",
        RULES, isa="avx2",
    ),
)  # fmt: skip
