"""Rules that kernels of several families share: NaN wins, ties go to the first, tails of vectors, lengths of sums.

On every instruction set, in sizes round its vectors and blocks. What each op computes is tested with the op.
Below: how CUDA kernels may be written, so that nvcc and the emulator understand them alike.
"""

from __future__ import annotations

import math
import os
import platform
import re
from pathlib import Path

import numpy as np
import pytest
from helpers import FLOATS, assert_close, isa, isas, rounded, sum_bound, tensor, threads

import fastcnn
from fastcnn import functional as F
from fastcnn._loader import _core

SIZES = (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 63, 65, 255, 256, 257, 511, 515, 4099)


def test_isas_are_those_of_this_machine() -> None:
    """The names in order of strength, as the kernel of the system reports the CPU; FASTCNN_ISAS: those of the build."""
    if platform.machine() != "x86_64" or not Path("/proc/cpuinfo").is_file():
        pytest.skip(f"no /proc/cpuinfo of an x86-64 CPU, but {platform.machine()}")
    flags = set(Path("/proc/cpuinfo").read_text().partition("flags")[2].partition("\n")[0].split())
    wanted = ["baseline"]
    if {"avx2", "fma", "f16c"} <= flags:
        wanted.append("avx2")
        if {"avx512f", "avx512dq", "avx512cd", "avx512bw", "avx512vl"} <= flags:
            wanted.append("avx512")
    built = {"baseline", *os.environ.get("FASTCNN_ISAS", "avx2;avx512").split(";")}
    wanted = [name for name in wanted if name in built]
    assert isas() == wanted
    for name in wanted:
        with isa(name):
            assert _core.isa() == name


@pytest.mark.parametrize("dtype", FLOATS)
def test_relu_of_special_values(dtype: str) -> None:
    """relu(NaN) = NaN with gradient 1, relu(-0.) = -0., gradient 0 at 0 (features.md A1), anywhere in a vector."""
    special = np.array([np.nan, -np.inf, np.inf, -0.0, 0.0, -1.0, 2.0])
    want = np.array([np.nan, 0.0, np.inf, -0.0, 0.0, 0.0, 2.0])
    slope = np.array([1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0])
    for name in isas():
        with isa(name):
            for n in SIZES[:16]:
                places = np.resize(np.arange(7), n)
                x = tensor(special[places], dtype).requires_grad_()
                y = F.relu(x)
                got = np.asarray(y.detach().to("float64"))
                np.testing.assert_array_equal(got, want[places], err_msg=f"{name} {n}")
                y.backward(fastcnn.ones(n, dtype=dtype))
                np.testing.assert_array_equal(
                    np.asarray(x.grad.to("float64")), slope[places], err_msg=f"{name} {n}"
                )
    minus_zero = np.asarray(F.relu(tensor(np.array([-0.0]), dtype)).to("float64"))
    assert np.signbit(minus_zero).all()


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("n", SIZES)
def test_nan_wins_in_max_and_min(dtype: str, n: int) -> None:
    """Wherever it stands; argmax and argmin name the first NaN, else the first of equals."""
    for at in sorted({0, n // 2, n - 1}):
        x = np.resize([1.0, -2.0, 0.5], n)
        x[at] = np.nan
        t = tensor(x, dtype)
        assert math.isnan(F.amax(t).item()) and math.isnan(F.amin(t).item())
        assert F.argmax(t).item() == at == F.argmin(t).item()
        wide = tensor(np.stack([x, np.zeros(n)], axis=1), dtype)
        assert np.isnan(np.asarray(F.amax(wide, 0).to("float64"))).tolist() == [True, False]
        if n > 1:
            x[-1] = np.nan
            assert F.argmax(tensor(x, dtype)).item() == at
    ties = tensor(np.resize([0.0, 3.0, -3.0, 3.0, -3.0], n), dtype)
    assert F.argmax(ties).item() == (1 if n > 1 else 0)
    assert F.argmin(ties).item() == (2 if n > 2 else 0)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("n", SIZES)
def test_sums_of_every_length(dtype: str, n: int) -> None:
    """Contiguous, strided, reversed and across rows, against math.fsum; the same bits for any number of threads."""
    r = np.random.default_rng(n)
    x = rounded(r.standard_normal((n, 3)), dtype)
    t = tensor(x, dtype)
    for what, part, values in (
        ("column", t[:, 0], x[:, 0]),
        ("contiguous", tensor(x[:, 1], dtype), x[:, 1]),
        ("reversed", t.flip(0)[:, 2], x[::-1, 2]),
    ):
        bound = sum_bound(np.array(np.abs(values).sum()), n, dtype)
        assert_close(F.sum(part), np.array(math.fsum(values)), bound, what)
    exact = np.array([math.fsum(column) for column in x.T])
    with threads(1):
        one = F.sum(t, 0)
    with threads(3):
        three = F.sum(t, 0)
    assert_close(one, exact, sum_bound(np.abs(x).sum(0), n, dtype))
    np.testing.assert_array_equal(np.asarray(one.to("float64")), np.asarray(three.to("float64")))


def test_every_task_runs_once_for_any_number_of_threads() -> None:
    """Elementwise over many tasks, more threads than processors: no element is left out or done twice."""
    x = np.arange(3 * 70001, dtype=np.float32).reshape(3, 70001)
    for n in (1, 2, 3, 5, 16):
        with threads(n):
            t = fastcnn.tensor(x)
            np.testing.assert_array_equal(np.asarray(t + t), 2 * x, err_msg=str(n))
            np.testing.assert_array_equal(np.asarray(F.amax(t, 1)), x.max(1), err_msg=str(n))


# ---- how CUDA kernels are written ----

CUDA = Path(__file__).resolve().parents[1] / "csrc" / "cuda"
# what may not appear -> the files of cuda/ that may have it
CUDA_RULES = {
    r"\basm\b": {"ptx.cuh"},
    r"__shared__": {"device.cuh"},
    r"__global__|__launch_bounds__": {"device.cuh"},
    r"<<<|\bcudaLaunch\w*Kernel|\bcuLaunch": {"launch.cuh"},
    r"#\s*include\s*<(?:cuda|mma|nv)": {"device.cuh"},
    r"\bemu::|FC_EMULATED": {"device.cuh", "vec.cuh", "ptx.cuh", "launch.cuh"},
    r"cooperative_groups|\bthrust\b|\bcub(?:las|lt)?\b|\bcublas|\bcudnn|\bcutlass|\bcufft": set(),
    r"__(?:shfl|ballot|any|all)(?:_up|_down|_xor)?\s*\(": set(),  # without _sync
    r"__syncthreads\w*\(.*__syncthreads": set(),  # told apart by their line
    r"\[[^\]\n]*\]\s*__device__": set(),  # lambdas that would cross the launch
    r"__(?:exp|exp10|log|log2|sin|cos|tan|pow)f\s*\(": {"math.cuh"},  # names of glibc
    r"\bprintf\b|\bassert\s*\(": set(),
}


def code_without_comments(text: str) -> str:
    text = re.sub(r"/\*.*?\*/", lambda m: "\n" * m[0].count("\n"), text, flags=re.DOTALL)
    return re.sub(r"//[^\n]*", "", text)


def broken_cuda_rules(name: str, text: str) -> list[str]:
    code = code_without_comments(text)
    return [
        f"{name}:{code[: match.start()].count(chr(10)) + 1}: {match[0]!r}"
        for pattern, allowed in CUDA_RULES.items()
        if name not in allowed
        for match in re.finditer(pattern, code)
    ]


def test_cuda_kernels_keep_the_rules() -> None:
    files = sorted(p for p in CUDA.rglob("*") if p.suffix in (".cu", ".cuh", ".h"))
    assert len(files) > 6 and {"ptx.cuh", "vec.cuh", "launch.cuh"} <= {p.name for p in files}
    broken = [complaint for p in files for complaint in broken_cuda_rules(p.name, p.read_text())]
    assert not broken, "\n".join(broken)


@pytest.mark.parametrize(
    "line",
    [
        'asm volatile("bar.sync 0;");',
        "__shared__ float s[32];",
        "static __global__ void k() {}",
        "k<<<1, 32>>>();",
        "cudaLaunchKernelEx(&c, k);",
        "#include <cuda_runtime.h>",
        "#include <mma.h>",
        "::emu::arch();",
        "namespace cg = cooperative_groups;",
        "thrust::sort(a, b);",
        "cub::BlockReduce<float, 32> r;",
        "#include <cublas_v2.h>",
        "cudnnCreate(&h);",
        "v = __shfl_down(v, 1);",
        "if (a) __syncthreads(); else __syncthreads();",
        "auto f = [=] __device__ (int i) {};",
        "y = __expf(x);",
        'printf("%d", i);',
    ],
)
def test_cuda_rules_bite(line: str) -> None:
    """Each of them in a kernel's file, and none of them in a comment."""
    assert broken_cuda_rules("relu.cu", f"int a;\n{line}\n")[0].startswith("relu.cu:2: ")
    assert not broken_cuda_rules("relu.cu", f"// {line}\n/* {line} */\n")


#: .cu files whose kernels are those of a header (map.cuh), or that have none.
WITHOUT_KERNELS = {
    "runtime.cu", "streams.cu", "trigonometry.cu", "elementwise_binary.cu", "conv_mma.cu", "conv_mma_tf32.cu",
}  # fmt: skip


def test_every_cuda_kernel_is_launched_by_the_launcher() -> None:
    """An FC_KERNEL whose name no launch() of its file mentions is dead, or started by other means."""
    for path in CUDA.rglob("*.cu"):
        code = code_without_comments(path.read_text())
        kernels = re.findall(r"\bFC_KERNEL\s+(\w+)", code)
        assert kernels or path.name in WITHOUT_KERNELS, f"{path.name}: no kernel"
        launches = "".join(re.findall(r"\blaunch\(.*?;", code, flags=re.DOTALL))
        chosen = "".join(
            re.findall(r"\breturn \w+_kernel<[^;]*;", code)
        )  # by a function that launch() is given
        started = launches + (chosen if "find<" in launches else "")
        assert all(re.search(rf"\b{name}\b", started) for name in kernels), f"{path.name}: {kernels}"
