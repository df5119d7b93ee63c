"""Looks at the machine code of a build: is each instruction set where it belongs, and are the kernels lean?

    python scripts/check_isa.py build          # exit 0: all rules hold, 1: some do not, 2: nothing to check

Rules (each with the way in which breaking it hurts):
  wide        no EVEX (zmm, registers 16-31, masks) outside isa_avx512, no VEX at all outside isa_avx2 and
              isa_avx512: an illegal instruction on an older CPU.
  weak        the isa_* objects define no weak or unique symbols: the linker could keep the wide copy of a
              shared function for everyone.
  exported    an isa_* object exports its table and nothing else, and calls nothing of the C++ library.
  constructor no global constructors in the isa_* objects: wide code would run at import.
  spill       no stack access in the innermost loops of the matrix-multiply micro-kernels; the Winograd transforms write
              and read each vector between their two directions once, and little else.
  scalar      the loops of the pointwise ops (SCALAR_OPS aside) compute in whole vectors: a formula that the compiler
              cannot make into vectors is several times slower, and nothing else would tell.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

EVEX = re.compile(r"%zmm|%[xy]mm(?:1[6-9]|2\d|3[01])\b|%k[0-7]\b")
VEX = re.compile(r"^v(?!err\b|erw\b)[a-z]")
FMA = re.compile(r"^v?f?n?m(?:add|sub|ul)\w*[ps][sd]\b|^vfn?m\w+")
MICRO_KERNEL = re.compile(r"\bgemm_tile\b")
DOT_KERNEL = re.compile(
    r"\bgemm_dot_tile\b"
)  # it may read addresses from the stack, and writes its sums there
TRANSFORM = re.compile(r"\b(?:load|store)_tile<(\d), (\d), .*?(\w+)Line\b")
#: Vectors per axis of a transform of m: in between, and of the last also results that a loop of any length stores.
TRANSFORM_WIDTH = {"Stride2Input": (2, 1), "Stride2GradientOutput": (2, 2)}
TRANSFORM_SLACK = 8  # constants that found no register
POINTWISE_LOOP = re.compile(r"\b(?:unary|binary)_loop<.*?::(\w+), float,")
SCALAR_OPS = {"Sin", "Cos", "Pow", "PowScalar"}  # calls of the C library
WHOLE_VECTOR = {"avx512": r"%zmm", "avx2": r"%ymm", "baseline": r"^\w+ps .*%xmm"}
MIN_FMAS = 4  # in a loop that is called an inner loop of a micro-kernel


class Instruction(NamedTuple):
    address: int
    text: str  # "vaddps %ymm1,%ymm2,%ymm3"

    @property
    def jump_target(self) -> int | None:
        match = re.match(r"j\w+ +([0-9a-f]+)\b", self.text)
        return int(match[1], 16) if match else None


def tool(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def disassemble(path: Path) -> Iterator[tuple[str, list[Instruction]]]:
    """(demangled name, instructions) of each function."""
    name, body = "", []
    for line in tool("objdump", "-d", "-C", "--no-show-raw-insn", str(path)).splitlines():
        head = re.match(r"^[0-9a-f]+ <(.+)>:$", line)
        if head:
            if body:
                yield name, body
            name, body = head[1], []
            continue
        parts = re.match(r"^ *([0-9a-f]+):\t(.+)$", line)
        if parts:
            # Operands that name a symbol are cut off: "call 10 <memset>".
            text = re.sub(r"\s+", " ", re.sub(r"<.*|#.*", "", parts[2])).strip()
            body.append(Instruction(int(parts[1], 16), text))
    if body:
        yield name, body


def inner_loops(body: list[Instruction]) -> list[list[Instruction]]:
    """The loops (ranges of backward jumps) that contain no other."""
    ranges = {
        (i.jump_target, i.address) for i in body if i.jump_target is not None and i.jump_target <= i.address
    }
    inner = [(a, b) for a, b in ranges if not any((c, d) != (a, b) and a <= c and d <= b for c, d in ranges)]
    return [[i for i in body if a <= i.address <= b] for a, b in sorted(inner)]


def stack_accesses(body: list[Instruction], loop: list[Instruction]) -> list[str]:
    """Memory operands on the stack; rbp counts only where it is the frame pointer."""
    framed = any(i.text.startswith("mov %rsp,%rbp") for i in body)
    base = re.compile(r"\(%r(?:sp|bp)\b" if framed else r"\(%rsp\b")
    return [i.text for i in loop if base.search(i.text) and not i.text.startswith("lea ")]


def transform_spills(name: str, body: list[Instruction]) -> list[str]:
    """Complaints about a Winograd transform of r x s tiles, say (r + 2) x (s + 2) positions, whole and part vectors."""
    tile = TRANSFORM.search(name)
    if not tile:
        return []
    times, more = TRANSFORM_WIDTH.get(tile[3], (1, 2))
    rows, cols = (times * int(m) + more for m in tile.group(1, 2))
    wide = [text for text in stack_accesses(body, body) if re.search(r"%[xyz]mm", text)]
    # Written and read, in two variants; half of them stay in the 32 registers of AVX-512.
    each = 2 if any("%zmm" in text for text in wide) else 4
    most = each * rows * cols + TRANSFORM_SLACK
    return (
        [f"spill: {name}: {len(wide)} vectors to or from the stack, at most {most}"]
        if len(wide) > most
        else []
    )


def scalar_loops(isa: str, name: str, body: list[Instruction]) -> list[str]:
    """Complaints about a loop of a pointwise op without an instruction on whole vectors."""
    op = POINTWISE_LOOP.search(name)
    if not op or op[1] in SCALAR_OPS or any(re.search(WHOLE_VECTOR[isa], i.text) for i in body):
        return []
    return [f"scalar: {op[1]}"]


def isa_of(path: Path) -> str:
    """ "avx2" for isa_avx2.cpp.o, "" for anything else."""
    match = re.match(r"isa_(\w+)\.cpp\.o$", path.name)
    return match[1] if match else ""


def check_instructions(path: Path) -> tuple[list[str], int]:
    """Complaints, and the number of micro-kernel loops seen."""
    isa, complaints, loops = isa_of(path), [], 0
    for name, body in disassemble(path):
        for i in body:
            too_wide = isa != "avx512" and EVEX.search(i.text)
            if too_wide or (isa not in ("avx2", "avx512") and VEX.match(i.text)):
                complaints.append(f"wide: {path.name}: {name}: {i.text}")
        if isa:
            found = transform_spills(name, body) + scalar_loops(isa, name, body)
            complaints += [f"{text} ({path.name})" for text in found]
        if isa and (MICRO_KERNEL.search(name) or DOT_KERNEL.search(name)):
            for loop in inner_loops(body):
                if sum(bool(FMA.match(i.text)) for i in loop) < MIN_FMAS:
                    continue
                loops += 1
                spills = stack_accesses(body, loop)
                if DOT_KERNEL.search(name):
                    spills = [text for text in spills if re.search(r"\(%r[sb]p\).*%[xyz]mm", text)]
                complaints += [f"spill: {path.name}: {name}: {text}" for text in spills]
    return complaints, loops


def check_symbols(path: Path) -> list[str]:
    isa, complaints = isa_of(path), []
    for line in tool("nm", "-C", str(path)).splitlines():
        kind, name = re.match(r"^[0-9a-f ]{16} (\S) (.+)$", line).groups()
        if kind in "WVuwv":
            complaints.append(f"weak: {path.name}: {name}")
        elif kind in "TDBR" and name != f"fastcnn::cpu::{isa}::table()":
            complaints.append(f"exported: {path.name}: defines {name}")
        elif kind == "U" and re.match(r"std::|operator (?:new|delete)|__cxa_|__gxx", name):
            complaints.append(f"exported: {path.name}: uses {name}")
    sections = tool("objdump", "-h", str(path))
    complaints += [
        f"constructor: {path.name}: {s}" for s in re.findall(r" (\.(?:init_array|ctors)\S*)", sections)
    ]
    return complaints


def objects_of(build: Path) -> list[Path]:
    """The rooms' objects of the newest build in a folder; FileNotFoundError says why there is nothing."""
    found = sorted(build.rglob("isa_avx512.cpp.o"), key=lambda p: p.stat().st_mtime)
    if not found:
        raise FileNotFoundError(f"no objects of an x86-64 build in {build}")
    if re.search(r"__[at]san_|__ubsan_", tool("nm", str(found[-1]))):
        raise FileNotFoundError(f"{build} is a sanitizer build")
    rooms = next(p for p in found[-1].parents if p.name == "CMakeFiles")
    return sorted(p for p in rooms.rglob("*.o") if "_core.dir" not in p.parts)


def check(build: Path) -> tuple[list[str], str]:
    """(complaints, summary of what was looked at)."""
    objects = objects_of(build)
    isa_objects = [p for p in objects if isa_of(p)]
    complaints, loops = [], 0
    for path in objects:
        found, seen = check_instructions(path)
        complaints, loops = complaints + found, loops + seen
    for path in isa_objects:
        complaints += check_symbols(path)
    if not loops:
        complaints.append("spill: no inner loop of a micro-kernel was found; has gemm_tile been renamed?")
    return complaints, f"{len(objects)} objects, {len(isa_objects)} per ISA, {loops} micro-kernel loops"


def main() -> int:
    parser = argparse.ArgumentParser(description="Checks the machine code of a build.")
    parser.add_argument("build", type=Path, help="a build folder of CMake or pip")
    try:
        complaints, summary = check(parser.parse_args().build)
    except FileNotFoundError as e:
        print(f"check_isa: {e}", file=sys.stderr)
        return 2
    for complaint in complaints[:40]:
        print(complaint)
    print(f"check_isa: {summary}, {len(complaints)} complaints")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
