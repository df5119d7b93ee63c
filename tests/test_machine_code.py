"""The rules of scripts/check_isa.py on the build in use, and proof that each can fail; counting of instructions."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def script(name: str):  # type: ignore[no-untyped-def]
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


check_isa = script("check_isa")


@pytest.fixture(scope="module")
def build() -> Path:
    for name in ("objdump", "nm"):
        if not shutil.which(name):
            pytest.skip(f"{name} is not installed")
    core = os.environ.get("FASTCNN_CORE")
    folder = Path(core).resolve().parent if core else ROOT / "build"
    try:
        check_isa.objects_of(folder)
    except FileNotFoundError as e:
        pytest.skip(f"no objects to look at: {e}")
    return folder


def object_named(build: Path, name: str) -> Path:
    return next(p for p in check_isa.objects_of(build) if p.name == name)


def test_build_keeps_the_rules(build):
    complaints, summary = check_isa.check(build)
    assert not complaints, "\n".join(complaints[:20])
    print(summary)


@pytest.mark.parametrize(("source", "pretends"), [("avx512", "avx2"), ("avx2", "baseline"), ("avx2", "")])
def test_wide_code_in_the_wrong_object_is_found(build, tmp_path, source, pretends):
    name = f"isa_{pretends}.cpp.o" if pretends else "conv.cpp.o"
    shutil.copy(object_named(build, f"isa_{source}.cpp.o"), tmp_path / name)
    complaints, _ = check_isa.check_instructions(tmp_path / name)
    assert any(c.startswith("wide: ") for c in complaints)


def test_library_code_in_an_isa_object_is_found(build, tmp_path):
    shutil.copy(object_named(build, "thread_pool.cpp.o"), tmp_path / "isa_avx2.cpp.o")
    kinds = {c.split(":")[0] for c in check_isa.check_symbols(tmp_path / "isa_avx2.cpp.o")}
    assert {"weak", "exported"} <= kinds


def test_global_constructor_is_found(tmp_path):
    compiler = shutil.which("c++")
    if not compiler:
        pytest.skip("no C++ compiler")
    source, target = tmp_path / "a.cpp", tmp_path / "isa_avx2.cpp.o"
    source.write_text("int f(); static int x = f(); int* g() { return &x; }\n")
    check_isa.tool(compiler, "-c", "-O2", str(source), "-o", str(target))
    assert any(c.startswith("constructor: ") for c in check_isa.check_symbols(target))


def test_spill_in_an_inner_loop_is_found():
    lines = {
        0x0: "mov %rsp,%rbp",
        0x4: "vmovaps 0x20(%rsp),%ymm0",  # before the loop: allowed
        0x8: "vfmadd231ps %ymm0,%ymm1,%ymm2",
        0xC: "vmovaps %ymm2,-0x40(%rbp)",
        0x10: "add $0x20,%rax",
        0x14: "jne 8",
        0x18: "jmp 0",
    }
    body = [check_isa.Instruction(a, t) for a, t in lines.items()]
    loops = check_isa.inner_loops(body)
    assert [[i.address for i in loop] for loop in loops] == [[0x8, 0xC, 0x10, 0x14]]
    assert check_isa.stack_accesses(body, loops[0]) == ["vmovaps %ymm2,-0x40(%rbp)"]
    assert check_isa.stack_accesses(body[1:], loops[0]) == []  # rbp is then an ordinary register


def test_pointwise_loops_are_looked_at_and_scalar_ones_found(build):
    """The loop of pow, which calls the C library, would be a complaint under another op's name."""
    found = dict(check_isa.disassemble(object_named(build, "isa_avx512.cpp.o")))
    loops = [n for n in found if check_isa.POINTWISE_LOOP.search(n)]
    assert len(loops) > 60
    name = next(n for n in loops if "::PowScalar, float" in n)
    assert check_isa.scalar_loops("avx512", name, found[name]) == []
    assert check_isa.scalar_loops("avx512", name.replace("PowScalar", "Exp"), found[name]) == ["scalar: Exp"]


def test_winograd_transforms_are_looked_at_and_spills_found(build):
    """Every tile of every form is there; the same code under a smaller tile's name is too much."""
    found = {n: b for n, b in check_isa.disassemble(object_named(build, "isa_avx512.cpp.o")) if "_tile<" in n}
    loads = [n for n in found if "load_tile<" in n]
    assert len(loads) == 5 * 9 and len([n for n in found if "store_tile<" in n]) == 3 * 9
    largest = next(b for n, b in found.items() if re.search("load_tile<4, 4, .*::InputLine", n))
    assert check_isa.stack_accesses(largest, largest), "the transform keeps 36 vectors in between"
    assert not check_isa.transform_spills("load_tile<4, 4, InputLine>", largest)
    assert check_isa.transform_spills("load_tile<2, 2, InputLine>", largest)
    assert not check_isa.transform_spills("load_tile<2, 2, Stride2InputLine>", largest[: len(largest) // 2])
    assert not check_isa.transform_spills("gemm_tile<6, 4>", largest)


def test_instructions_are_counted_once_where_they_ran(tmp_path: Path):
    """callgrind's line after "calls=" is what the callee cost, which stands under the callee too."""
    profile = tmp_path / "out"
    profile.write_text(
        "ob=/lib/_core.so\nfn=conv2d\n10 100\ncfn=malloc\ncob=/lib/libc.so.6\ncalls=1 7\n+3 50\n* 5\n"
        "ob=/lib/libc.so.6\nfn=malloc\n7 50\n"
    )
    assert script("count_instructions").cost_by_object(profile) == {"_core.so": 105, "libc.so.6": 50}
