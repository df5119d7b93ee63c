"""Compiles the CUDA kernels with nvcc for every architecture we name; needs no GPU.

    python scripts/check_nvcc.py                # exit 0: all is well, 1: something is not, 3: there is no nvcc
    python scripts/check_nvcc.py --arch 80      # one architecture
    python scripts/check_nvcc.py --file pool.cu # one file
    python scripts/check_nvcc.py --log FILE     # what `ninja` wrote on a build with FASTCNN_CUDA=on, FASTCNN_WERROR=ON
    python scripts/check_nvcc.py --write        # keeps the figures, after a look at what changed

Warnings are errors, and so are register spills and local memory. Registers and shared memory of each kernel, as
ptxas reports them, must not exceed those kept in csrc/cuda/resources.txt (by the same release of nvcc). The PTX of
tests/cpp/emulator/contract.cu must hold the instructions that the wrappers of cuda/ptx.cuh and cuda/vec.cuh stand
for: their emulated twins cannot tell whether those strings are right. Tensor-core kernels must hold as many mma.sync
and ldmatrix as their tiles need.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESOURCES = ROOT / "csrc" / "cuda" / "resources.txt"
ARCHITECTURES = {"75": "75", "80": "80", "90a": "90a"}  # 90a: the one that knows wgmma and TMA
STRICT = ["-std=c++17", "-O3", f"-I{ROOT / 'csrc'}", "-Werror", "all-warnings"]
PTXAS = ["-Xptxas", "-v,-warn-spills,-warn-lmem-usage"]
LOCAL_MEMORY = {"trigonometry.cu"}  # files that may use it; each says why
CONTRACT = {  # kernel -> what its PTX for sm_80 must hold
    "copy_async_16": [
        r"cp\.async\.cg\.shared\.global \[%r\d+\], \[%rd\d+\], 16, %r\d+;",
        r"cp\.async\.commit_group;",
        r"cp\.async\.wait_group 1;",
    ],
    "copy_async_4": [r"cp\.async\.ca\.shared\.global \[%r\d+\], \[%rd\d+\], 4, %r\d+;", r"bar\.sync\s+0;"],
    "vector_16": [r"ld\.global\.v4\.[bfu]32", r"st\.global\.v4\.[bfu]32"],
    "vector_of_halves": [
        r"ld\.global\.v4\.[bu]32",
        r"cvt\.f32\.f16",
        r"cvt\.rn\.f16\.f32",
        r"st\.global\.v4\.[bu]32",
    ],
    "shared_vector": [r"st\.shared\.v4\.[bfu]32", r"ld\.shared\.[bfu]32"],
    "matrix_loads": [
        r"ldmatrix\.sync\.aligned\.m8n8\.x4\.shared\.b16 \{(%r\d+, ){3}%r\d+\}, \[%r\d+\];",
        r"ldmatrix\.sync\.aligned\.m8n8\.x2\.trans\.shared\.b16 \{%r\d+, %r\d+\}, \[%r\d+\];",
        r"ldmatrix\.sync\.aligned\.m8n8\.x1\.shared\.b16 \{%r\d+\}, \[%r\d+\];",
    ],
    "multiply": [
        rf"mma\.sync\.aligned\.{shape}\.row\.col\.f32\.{t}\.{t}\.f32 "
        rf"\{{(%[fr]\d+, ){{3}}%[fr]\d+\}}, \{{(%r\d+, ){{{a - 1}}}%r\d+\}}, \{{(%r\d+, ){{{b - 1}}}%r\d+\}}"
        for shape, t, a, b in (
            ("m16n8k16", "bf16", 4, 2),
            ("m16n8k16", "f16", 4, 2),
            ("m16n8k8", "tf32", 4, 2),
            ("m16n8k8", "f16", 2, 1),
        )
    ],
}


#: (mma.sync, ldmatrix) of the tensor-core kernels' main loops, by kernel and tile, in the PTX for sm_80; ptxas keeps
#: them, they are volatile. A loop that is no longer unrolled, or a fragment that is loaded twice, changes them.
TENSOR_CORES = {
    "conv_mma.cu": {
        f"{kernel}<Mma16<{t}>, {tile}>": counts
        for t in ("__half", "__nv_bfloat16")
        for kernel, tile, counts in (
            ("conv_mma_kernel", "64, 64", (16, 8)),
            ("conv_mma_kernel", "128, 128", (32, 12)),
            ("conv_mma_weight_kernel", "64", (16, 8)),
            ("conv_mma_weight_kernel", "128", (32, 12)),
        )
    },
    "conv_mma_tf32.cu": {  # ldmatrix cannot transpose 32-bit words
        f"{kernel}<{kind}, {tile}>": (products * mma, ldmatrix)
        for kind, products in (("Tf32", 1), ("Tf32x3", 3))
        for kernel, tile, mma, ldmatrix in (
            ("conv_mma_kernel", "64, 64", 16, 8),
            ("conv_mma_kernel", "128, 128", 32, 12),
            ("conv_mma_weight_kernel", "64", 16, 0),
            ("conv_mma_weight_kernel", "128", 32, 0),
        )
    },
}


def find_nvcc() -> str | None:
    """CUDACXX, CUDA_HOME, CUDA_PATH, PATH, the default prefix: as cmake/FastcnnCuda.cmake looks for it."""
    places = [os.environ.get("CUDACXX", "")]
    places += [f"{os.environ[k]}/bin/nvcc" for k in ("CUDA_HOME", "CUDA_PATH") if os.environ.get(k)]
    places += ["nvcc", "/usr/local/cuda/bin/nvcc"]
    return next((path for p in places if p and (path := shutil.which(p))), None)


def run(command: list[str]) -> tuple[int, str]:
    done = subprocess.run(command, capture_output=True, text=True, timeout=500)
    return done.returncode, done.stdout + done.stderr


def resources(text: str) -> list[tuple[str, str, int, int]]:
    """(kernel, architecture, registers, bytes of shared memory) from what ptxas -v says."""
    rows = []
    for name, arch, rest in re.findall(
        r"Compiling entry function '(\w+)' for 'sm_(\w+)'(.*?)(?=Compiling entry|\Z)", text, flags=re.DOTALL
    ):
        registers = re.search(r"Used (\d+) registers", rest)
        shared = re.search(r"(\d+) bytes smem", rest)
        rows.append((name, arch, int(registers[1]) if registers else -1, int(shared[1]) if shared else 0))
    return rows


def readable(names: list[str]) -> list[str]:
    """Without the mangling, the namespaces and the arguments, where c++filt is at hand."""
    if not shutil.which("c++filt") or not names:
        return names
    text = subprocess.run(["c++filt"], input="\n".join(names), capture_output=True, text=True).stdout
    return [
        re.sub(r"^void |fastcnn::cuda::|\(anonymous namespace\)::|\(.*$", "", n) for n in text.splitlines()
    ]


def compile_kernels(nvcc: str, source: Path, architectures: list[str], folder: str) -> tuple[Path, int, str]:
    codes = [f"-gencode=arch=compute_{a},code=sm_{a}" for a in architectures]
    target = f"{folder}/{source.name}.o"
    ptxas = [PTXAS[0], "-v"] if source.name in LOCAL_MEMORY else PTXAS
    return source, *run([nvcc, *STRICT, *ptxas, *codes, "-c", str(source), "-o", target])


def logged(log: str) -> dict[str, str]:
    """File -> what was said while it was compiled; `log` is what ninja wrote into a file: a step, then its output."""
    steps = re.split(r"^\[\d+/\d+\] ", log, flags=re.MULTILINE)
    found = (re.match(r"Building CUDA object .*/([\w.]+\.cu)\.o\n", step) for step in steps)
    return {match[1]: match.string[match.end() :] for match in found if match}


def kept_figures(text: str) -> tuple[str, dict[tuple[str, str, str], tuple[int, int]]]:
    """The release of nvcc and, for (file, kernel, architecture), (registers, shared bytes) of resources.txt."""
    first, *lines = text.splitlines()
    rows = [line.split(" | ") for line in lines if line.count(" | ") == 4]
    return first.rpartition(" ")[2], {(f, k, a): (int(r), int(s)) for f, k, a, r, s in rows}


def largest(rows: Iterable[tuple[str, str, str, int, int]]) -> list[tuple[str, str, str, int, int]]:
    """One row for all instantiations of a kernel template: the most registers, the most shared memory."""
    found: dict[tuple[str, str, str], tuple[int, int]] = {}
    for file, kernel, arch, registers, shared in rows:
        key = file, kernel.partition("<")[0], arch
        before = found.get(key, (0, 0))
        found[key] = max(before[0], registers), max(before[1], shared)
    return sorted((*key, *figures) for key, figures in found.items())


def grown(
    kept: dict[tuple[str, str, str], tuple[int, int]], rows: list[tuple[str, str, str, int, int]]
) -> list[str]:
    """Kernels that are new to the table, gone, or need more than it says."""
    found = {(f, k, a): (r, s) for f, k, a, r, s in rows}
    architectures = {a for _, _, a in found}
    complaints = []
    for key, now in found.items():
        before = kept.get(key)
        if before is None or now[0] > before[0] or now[1] > before[1]:
            complaints.append(f"{' '.join(key)}: registers, shared bytes {now}, kept {before}")
    gone = [key for key in kept if key[2] in architectures and key not in found]
    return complaints + [f"{' '.join(key)}: kept, but no longer there" for key in gone]


def missing_instructions(ptx: str) -> list[str]:
    """What the contract wants and the PTX does not have."""
    missing = []
    for kernel, patterns in CONTRACT.items():
        body = re.search(rf"\.entry {kernel}\(.*?\n}}", ptx, flags=re.DOTALL)
        for pattern in patterns:
            if not body or not re.search(pattern, body[0]):
                missing.append(f"{kernel}: no {pattern}")
    return missing


def tensor_core_counts(ptx: str) -> dict[str, tuple[int, int]]:
    """(mma.sync, ldmatrix) of each kernel that has any."""
    bodies = re.findall(r"\.entry (\w+)\((.*?)\n}", ptx, flags=re.DOTALL)
    counts = [
        (
            len(re.findall(r"^\s*mma\.sync\.", body, flags=re.MULTILINE)),
            len(re.findall(r"^\s*ldmatrix\.", body, flags=re.MULTILINE)),
        )
        for _, body in bodies
    ]
    names = readable([name for name, _ in bodies])
    return {name: found for name, found in zip(names, counts) if any(found)}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--arch", choices=ARCHITECTURES, action="append", help="default: all")
    parser.add_argument(
        "--file", action="append", help="of csrc/cuda, default: all; figures of the others stay"
    )
    parser.add_argument("--write", action="store_true", help="keep the figures in csrc/cuda/resources.txt")
    parser.add_argument("--log", type=Path, help="take the kernels' figures from this build, compile none")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    nvcc = find_nvcc()
    if not nvcc:
        print("check_nvcc: no nvcc found in CUDACXX, CUDA_HOME, CUDA_PATH, PATH or /usr/local/cuda")
        return 3
    architectures = options.arch or list(ARCHITECTURES)
    contract = ROOT / "tests" / "cpp" / "emulator" / "contract.cu"
    kernels = sorted((ROOT / "csrc" / "cuda").rglob("*.cu"))
    unknown = [f for f in options.file or () if f not in {k.name for k in kernels}]
    if unknown:
        parser.error(f"--file: got {unknown[0]}, expected one of {', '.join(k.name for k in kernels)}")
    rows = []
    if options.log:
        built = logged(options.log.read_text())
        missing = [k.name for k in kernels if k.name not in built]
        if missing:
            parser.error(f"--log: {options.log} does not compile {', '.join(missing)}")
        rows = [(file, *row) for file, text in built.items() for row in resources(text)]
        if {row[2] for row in rows} != set(ARCHITECTURES):
            parser.error(f"--log: {options.log} is not a build for sm_{', sm_'.join(ARCHITECTURES)}")
        kernels = []
    sources = [*(k for k in kernels if not options.file or k.name in options.file), contract]
    failed = 0
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(options.jobs) as pool:
        for source, status, text in pool.map(
            lambda s: compile_kernels(nvcc, s, architectures, folder), sources
        ):
            if status:
                failed += 1
                print(f"{source.relative_to(ROOT)}: nvcc failed ({status})\n{text}")
            rows += [(source.name, *row) for row in resources(text)]
        ptx = f"{folder}/contract.ptx"
        status, text = run([nvcc, *STRICT, "-arch=compute_80", "-ptx", str(contract), "-o", ptx])
        complaints = (
            [text] if status else [f"contract.cu: {c}" for c in missing_instructions(Path(ptx).read_text())]
        )
        for file, wanted in TENSOR_CORES.items():
            if options.file and file not in options.file:
                continue
            status, text = run(
                [nvcc, *STRICT, "-arch=compute_80", "-ptx", str(ROOT / "csrc/cuda" / file), "-o", ptx]
            )
            found = {} if status else tensor_core_counts(Path(ptx).read_text())
            complaints += [text] if status else []
            complaints += [
                f"{file}: {k}: (mma.sync, ldmatrix) {found.get(k)}, expected {wanted.get(k)}"
                for k in sorted({*wanted, *found})
                if found.get(k) != wanted.get(k)
            ]
    names = readable([r[1] for r in rows])
    rows = [(file, name, *figures) for (file, _, *figures), name in zip(rows, names)]
    print("| file | kernel | sm | registers | shared bytes |\n|---|---|---|---:|---:|")
    for row in rows:
        print(f"| {' | '.join(map(str, row))} |")
    release = re.search(r"release ([\d.]+)", run([nvcc, "--version"])[1])[1]
    ours = largest(r for r in rows if r[0] != contract.name)
    kept_release, kept = kept_figures(RESOURCES.read_text())
    if options.file:
        others = sorted((*k, *v) for k, v in kept.items() if k[0] not in options.file)
        ours = sorted([*ours, *(row for row in others if row[2] in architectures)])
    if options.write:
        title = "Registers and shared bytes of each kernel (the most of its instantiations), by scripts/check_nvcc.py"
        lines = [f"{title}; nvcc {release}"]
        RESOURCES.write_text("\n".join([*lines, *(" | ".join(map(str, r)) for r in ours)]) + "\n")
    kept_release, kept = kept_figures(RESOURCES.read_text())
    if kept_release == release:
        complaints += [f"resources.txt: {c}; --write keeps it" for c in grown(kept, ours)]
    else:
        print(f"figures not compared: nvcc {release} here, {kept_release} in resources.txt")
    for complaint in complaints:
        print(f"wrong: {complaint}")
    print(f"{len(sources)} files, {len(rows)} kernels, sm_{', sm_'.join(architectures)}")
    return 1 if failed or complaints or not rows else 0


if __name__ == "__main__":
    sys.exit(main())
