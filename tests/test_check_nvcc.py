"""scripts/check_nvcc.py reads what nvcc says and notices what it should. The compiler itself is only run by CI."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
spec = importlib.util.spec_from_file_location("check_nvcc", ROOT / "scripts" / "check_nvcc.py")
check_nvcc = importlib.util.module_from_spec(spec)
spec.loader.exec_module(check_nvcc)

PTXAS = """
ptxas info    : Compiling entry function '_Z1kPf' for 'sm_80'
ptxas info    : Function properties for _Z1kPf
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 28 registers, used 1 barriers, 4224 bytes smem, 392 bytes cmem[0]
ptxas info    : Compiling entry function '_Z1mPf' for 'sm_90a'
ptxas info    : Used 8 registers, used 0 barriers, 376 bytes cmem[0]
"""


def test_a_build_says_which_file_a_kernel_is_of():
    step = "Building CUDA object csrc/CMakeFiles/fastcnn_cuda_kernels.dir/cuda"
    log = f"[1/9] {step}/k.cu.o\n{PTXAS}[2/9] Building CXX object a.cpp.o\n[3/9] {step}/runtime.cu.o\n[4/9] Linking\n"
    assert check_nvcc.logged(log) == {"k.cu": PTXAS, "runtime.cu": ""}


def test_resources_are_read():
    assert check_nvcc.resources(PTXAS) == [("_Z1kPf", "80", 28, 4224), ("_Z1mPf", "90a", 8, 0)]


@pytest.mark.parametrize(
    ("row", "part"),
    [
        (("k.cu", "k", "80", 28, 64), None),
        (("k.cu", "k", "80", 20, 0), None),
        (("k.cu", "k", "80", 29, 64), "k.cu k 80: registers, shared bytes (29, 64), kept (28, 64)"),
        (("k.cu", "k", "80", 28, 65), "kept (28, 64)"),
        (("k.cu", "k2", "80", 1, 0), "kept None"),
        (("k.cu", "k2", "80", 1, 0), "k.cu k 80: kept, but no longer there"),
    ],
)
def test_growth_is_noticed(row, part):
    kept = {("k.cu", "k", "80"): (28, 64), ("k.cu", "k", "75"): (30, 64)}
    complaints = check_nvcc.grown(kept, [row])
    assert any(part in c for c in complaints) if part else not complaints


def test_kept_figures_belong_to_kernels_that_exist():
    release, kept = check_nvcc.kept_figures(check_nvcc.RESOURCES.read_text())
    assert re.fullmatch(r"\d+\.\d+", release)
    assert {a for _, _, a in kept} == set(check_nvcc.ARCHITECTURES)
    folder = ROOT / "csrc" / "cuda"
    no_kernels = {"runtime.cu", "streams.cu"}
    assert {f for f, _, _ in kept} == {p.name for p in folder.rglob("*.cu")} - no_kernels
    headers = "".join(p.read_text() for p in folder.rglob("*.cuh"))
    for file, kernel, _ in kept:
        assert kernel in (folder / file).read_text() + headers
    assert all(0 < registers <= 255 and shared <= 48 << 10 for registers, shared in kept.values())


def test_instantiations_share_a_row():
    rows = [
        ("k.cu", "k<float>", "80", 28, 64),
        ("k.cu", "k<double>", "80", 20, 128),
        ("k.cu", "k2<int>", "80", 8, 0),
    ]
    assert check_nvcc.largest(rows) == [("k.cu", "k", "80", 28, 128), ("k.cu", "k2", "80", 8, 0)]


def test_missing_instructions_are_noticed():
    names = list(check_nvcc.CONTRACT)
    empty = "".join(f".visible .entry {n}(\n)\n{{\nret;\n}}\n" for n in names)
    wanted = sum(map(len, check_nvcc.CONTRACT.values()))
    assert len(check_nvcc.missing_instructions(empty)) == wanted == len(check_nvcc.missing_instructions(""))
    good = empty.replace(
        "entry vector_16(\n)\n{\n", "entry vector_16(\n)\n{\nld.global.v4.u32 a;\nst.global.v4.f32 b;\n"
    )
    assert len(check_nvcc.missing_instructions(good)) == wanted - 2
    contract = (ROOT / "tests" / "cpp" / "emulator" / "contract.cu").read_text()
    assert all(f"void {n}(" in contract for n in names)


def test_tensor_core_instructions_are_counted():
    """mma.sync and ldmatrix of each kernel; wmma and ld are something else."""
    mma = "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%f1};\n"
    ptx = (
        f".visible .entry first(\n)\n{{\n{mma}ldmatrix.sync.aligned.m8n8.x4.shared.b16 {{%r1}}, [%r2];\n{mma}}}\n"
        ".visible .entry none(\n)\n{\nwmma.mma.sync;\nld.global.u32 %r1, [%r2];\n}\n"
        f".visible .entry last(\n)\n{{\n{mma}ret;\n}}\n"
    )
    found = check_nvcc.tensor_core_counts(ptx)
    assert found == {"first": (2, 1), "last": (1, 0)}


def test_tensor_core_kernels_are_in_the_table_of_resources():
    """A kernel that was renamed cannot leave the gate unseen."""
    _, kept = check_nvcc.kept_figures(check_nvcc.RESOURCES.read_text())
    for file, kernels in check_nvcc.TENSOR_CORES.items():
        assert {k.partition("<")[0] for k in kernels} <= {k for f, k, _ in kept if f == file}
