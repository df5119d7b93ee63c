"""Everything that only a GPU can show, in one command and without a network.

    python scripts/gpu_check.py                          # all stages
    python scripts/gpu_check.py build families bench     # some of them
    python scripts/gpu_check.py --list

Stages of about three minutes each; the result of each goes into benchmarks/results/cuda_<card>.json with device,
driver, clocks and commit. exit 0: all is well, 1: something is not, 3: there is no GPU.

    build       a module for this card by nvcc, unless FASTCNN_CORE names one
    families    each family of kernels against float64 arithmetic on the CPU
    suite       the tests, with everything made on the card
    sanitizer   the quick tests under compute-sanitizer, where it is installed
    bench       each case of gpu_cases.py: time, share of the floor, error; beside PyTorch where it has CUDA
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
STAGES = ("build", "families", "suite", "sanitizer", "bench")
SUITE = (
    "tiny",
    "activation",
    "arithmetic",
    "reduction",
    "pool",
    "dropout",
    "norm",
    "linear",
    "conv",
    "optim",
    "loss",
)
NO_GPU = 3


def run(command: list[str], **keywords: Any) -> tuple[int, str]:
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, **keywords)
    return done.returncode, done.stdout + done.stderr


def card() -> dict[str, str] | None:
    """Name, driver, clocks and compute capability of GPU 0 as nvidia-smi has them; None without one."""
    if not shutil.which("nvidia-smi"):
        return None
    keys = [
        "name",
        "driver_version",
        "clocks.sm",
        "clocks.mem",
        "clocks.max.sm",
        "power.limit",
        "compute_cap",
    ]
    status, text = run(["nvidia-smi", "-i", "0", f"--query-gpu={','.join(keys)}", "--format=csv,noheader"])
    values = [v.strip() for v in text.splitlines()[0].split(",")] if status == 0 and text.strip() else []
    return dict(zip(keys, values, strict=True)) if len(values) == len(keys) else None


def stage_build(found: dict[str, str]) -> dict[str, Any]:
    if os.environ.get("FASTCNN_CORE"):
        return {"core": os.environ["FASTCNN_CORE"], "ok": True}
    folder = ROOT / "build" / "gpu"
    arch = found["compute_cap"].replace(".", "")
    options = ["-DCMAKE_BUILD_TYPE=Release", "-DFASTCNN_CUDA=on", "-DFASTCNN_BUILD_TESTS=OFF"]
    options += [f"-DFASTCNN_CUDA_ARCHITECTURES={arch}-real"]
    for command in (
        ["cmake", "-S", ".", "-B", str(folder), *options],
        ["cmake", "--build", str(folder), "-j"],
    ):
        status, text = run(command)
        if status:
            return {"ok": False, "text": text[-2000:]}
    core = next(folder.glob("_core*.so"))
    os.environ["FASTCNN_CORE"] = str(core)
    return {"core": str(core.relative_to(ROOT)), "ok": True}


def is_emulated() -> bool:
    """A module whose kernels run on the CPU says nothing about a card."""
    import fastcnn

    return bool(fastcnn._core.cuda_is_emulated())


def operands(case: Any) -> list[Any]:
    import numpy as np

    rng = np.random.default_rng(0)
    values = [rng.standard_normal(shape).astype(np.float32) for shape in case.shapes]
    return values + [rng.integers(0, bound, shape) for shape, bound in case.indices]


def rounded(case: Any, arrays: list[Any]) -> list[Any]:
    """Tensors on the CPU: floats in the case's dtype, indices as they are."""
    import fastcnn

    return [fastcnn.tensor(a).to("int64" if a.dtype.kind == "i" else case.dtype) for a in arrays]


def stage_families(found: dict[str, str]) -> dict[str, Any]:
    """Small versions of the cases against the CPU's float64 on the same operands, relative to the largest result."""
    import numpy as np
    from gpu_cases import CASES

    import fastcnn
    from fastcnn import functional as F

    def kind(case: Any) -> str:
        return "tf32" if case.precision == "tf32" else case.dtype

    rows, bounds = {}, {"float32": 1e-4, "tf32": 2e-3, "float16": 2e-3, "bfloat16": 1.6e-2}
    for case in CASES:
        if case.family == "dropout":  # its mask is compared by the suite
            continue
        small = [a[:2] if a.ndim == 4 and a.shape[0] == 64 else a[:256] for a in operands(case)]
        small = [a % 256 if a.dtype == np.int64 else a for a in small]  # rows that are there
        with fastcnn.no_grad():
            here = rounded(case, small)
            exact = case.ours(
                fastcnn, F, [t if t.dtype == "int64" else t.to("float64") for t in here]
            ).numpy()
            got = case.ours(fastcnn, F, [t.to("cuda") for t in here]).to("float64").numpy()
        rows[case.name] = float(np.abs(got - exact).max() / max(np.abs(exact).max(), 1e-30))
    return {"error": rows, "ok": all(rows[c.name] < bounds[kind(c)] for c in CASES if c.name in rows)}


def stage_suite(found: dict[str, str]) -> dict[str, Any]:
    tests = [f"tests/test_{name}.py" for name in SUITE]
    environment = {
        **os.environ,
        "FASTCNN_TEST_DEVICE": "cuda",
        "HYPOTHESIS_PROFILE": "quick",
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-m", "pytest", "-q", "-m", "not slow", "-p", "no:cacheprovider", *tests]
    status, text = run(command, env=environment)
    return {
        "summary": text.strip().splitlines()[-1],
        "ok": status == 0,
        **({"text": text[-4000:]} if status else {}),
    }


def stage_sanitizer(found: dict[str, str]) -> dict[str, Any]:
    tool = shutil.which("compute-sanitizer")
    if not tool:
        return {"ok": True, "skipped": "compute-sanitizer is not on PATH; it comes with the CUDA toolkit"}
    environment = {**os.environ, "FASTCNN_TEST_DEVICE": "cuda", "PYTHONPATH": str(ROOT)}
    command = [tool, "--error-exitcode", "9", sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    status, text = run([*command, "tests/test_tiny.py"], env=environment)
    return {
        "summary": text.strip().splitlines()[-1],
        "ok": status == 0,
        **({"text": text[-4000:]} if status else {}),
    }


def timed(work: Callable[[], Any], wait: Callable[[], Any], seconds: float = 0.3) -> list[float]:
    """Seconds of a call, many times: batches of calls between two waits, so that Python runs ahead of the card."""
    work()
    wait()
    samples = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(samples) < 5:
        start = time.perf_counter()
        for _ in range(10):
            work()
        wait()
        samples.append((time.perf_counter() - start) / 10)
    return samples


def stage_bench(found: dict[str, str]) -> dict[str, Any]:
    """Interleaved rounds. Operands rotate over 256 MiB, so that no level-2 cache holds them."""
    from gpu_cases import CASES, predicted

    import fastcnn
    from fastcnn import functional as F

    try:
        import torch
        import torch.nn.functional as TF

        rival = torch.cuda.is_available()
    except ImportError:
        rival = False
    if rival:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = (
            False  # float32 means float32
        )
    rows = {}
    for case in CASES:
        arrays = operands(case)
        copies = max(2, int(2**28 // max(sum(a.nbytes for a in arrays), 1)))
        ours = [[t.to("cuda") for t in rounded(case, arrays)] for _ in range(min(copies, 8))]
        turn = iter(range(10**9))

        def call(turn: Any = turn, ours: Any = ours, case: Any = case) -> Any:
            return case.ours(fastcnn, F, ours[next(turn) % len(ours)])

        rivals: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
            "fastcnn": (call, lambda: fastcnn.synchronize("cuda"))
        }
        if rival:
            kinds = {"f": getattr(torch, case.dtype), "i": torch.int64}
            for layout in ("contiguous_format", "channels_last"):
                sets = [
                    [
                        t.contiguous(memory_format=getattr(torch, layout)) if t.ndim == 4 else t
                        for t in (torch.from_numpy(a).to(kinds[a.dtype.kind]).cuda() for a in arrays)
                    ]
                    for _ in range(len(ours))
                ]  # fmt: skip

                def theirs(turn: Any = turn, sets: Any = sets, case: Any = case, layout: str = layout) -> Any:
                    torch.backends.cudnn.benchmark = layout == "channels_last"
                    return case.theirs(torch, TF, sets[next(turn) % len(sets)])

                rivals[f"torch {layout}"] = theirs, torch.cuda.synchronize
        samples: dict[str, list[float]] = {name: [] for name in rivals}
        with fastcnn.no_grad():
            for _ in range(3):
                for name, (work, wait) in rivals.items():
                    samples[name] += timed(work, wait)
        row: dict[str, Any] = {name: round(1e6 * statistics.median(s), 2) for name, s in samples.items()}
        rows[case.name] = {
            **row,
            "floor_us": predicted(case)["floor_us"],
            "expected_us": predicted(case)["expected_us"],
        }
        print(case.name, rows[case.name], flush=True)
        del ours, rivals
        fastcnn.memory.empty_cache("cuda")
    return {"us": rows, "ok": True}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stages", nargs="*", metavar="stage", help=f"default: {' '.join(STAGES)}")
    parser.add_argument("--list", action="store_true", help="names the stages")
    options = parser.parse_args()
    if options.list:
        print("\n".join(STAGES))
        return 0
    unknown = [s for s in options.stages if s not in STAGES]
    if unknown:
        parser.error(f"unknown stage {unknown[0]}, expected some of {', '.join(STAGES)}")
    found = card()
    if found is None:
        print("gpu_check: no GPU here (nvidia-smi finds none), so nothing was checked; kernels run without one in the "
              "emulated build: .ci/run cuda")  # fmt: skip
        return NO_GPU
    sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]
    results: dict[str, Any] = {}
    for name in ["build", *(s for s in STAGES[1:] if not options.stages or s in options.stages)]:
        start = time.perf_counter()
        results[name] = globals()[f"stage_{name}"](found)
        results[name]["seconds"] = round(time.perf_counter() - start, 1)
        print(
            f"{name}: {'ok' if results[name]['ok'] else 'FAILED'} {results[name].get('text', '')}", flush=True
        )
        if not results[name]["ok"]:
            break
        if name == "build" and is_emulated():
            print(
                f"gpu_check: {os.environ['FASTCNN_CORE']} is an emulated build, expected one with FASTCNN_CUDA=on"
            )
            return 1
    commit = run(["git", "rev-parse", "HEAD"])[1].strip()[:12]
    path = ROOT / "benchmarks" / "results" / f"cuda_{found['name'].lower().replace(' ', '_')}.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    date = time.strftime("%Y-%m-%d", time.gmtime())
    known.update({"card": found, "commit": commit, "date": date, **results})
    path.write_text(json.dumps(known, indent=1) + "\n")
    return 0 if all(r["ok"] for r in results.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
