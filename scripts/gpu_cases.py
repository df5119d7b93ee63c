"""What is timed on a GPU: one case or a few for each family of kernels, with the bytes and multiply-adds they need.

`python scripts/gpu_cases.py --write` computes the time that an H200 should take for each, from its ceilings, and keeps
it in benchmarks/results/cuda_predicted.json: written down before anything was measured. scripts/gpu_check.py measures.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
PREDICTED = ROOT / "benchmarks" / "results" / "cuda_predicted.json"
#: H200: bytes/s of a copy as published measurements have it (4.8e12 nominal), float32 FLOP/s of its data sheet (67e12)
#: less a tenth for clocks under load, and the seconds of a launch.
CEILINGS = {"copy_bytes_per_s": 4.3e12, "fp32_flops_per_s": 60e12, "launch_s": 3e-6}


class Case(NamedTuple):
    """One op on one problem. ours(fastcnn, functional, tensors) and theirs(torch, functional, tensors) run it."""

    name: str
    family: str
    shapes: tuple[tuple[int, ...], ...]  # of the operands, random normal float32
    bytes: float  # that must be read and written once
    flops: float
    share: float  # of the ceiling that the kernel as it stands is expected to reach
    launches: int
    ours: Callable[..., Any]
    theirs: Callable[..., Any]


def _elements(*shapes: tuple[int, ...]) -> float:
    total = 0.0
    for shape in shapes:
        count = 1.0
        for extent in shape:
            count *= extent
        total += count
    return total


def _conv(
    name: str, n: int, c: int, k: int, size: int, taps: int, stride: int, groups: int, share: float, *,
    algo: str = "auto", more: float = 0, launches: int = 1,
) -> Case:  # fmt: skip
    """`more`: bytes of the workspace that a named algorithm writes and reads."""
    x, w = (n, c, size, size), (k, c // groups, taps, taps)
    out = (size + 2 * (taps // 2) - taps) // stride + 1
    y = (n, k, out, out)
    setting = {"padding": taps // 2, "stride": stride, "groups": groups}
    return Case(
        name, "convolution", (x, w), 4 * _elements(x, w, y) + more,
        2 * _elements(y) * (c // groups) * taps * taps, share, launches,
        lambda fc, F, t: F.conv2d(*t, **setting, algo=algo), lambda torch, F, t: F.conv2d(*t, **setting),
    )  # fmt: skip


_MAP = (64, 64, 56, 56)
_COUNT = _elements(_MAP)
CASES: tuple[Case, ...] = (
    Case("copy", "copy", (_MAP,), 8 * _COUNT, 0, 0.9, 1,
         lambda fc, F, t: t[0].clone(), lambda torch, F, t: t[0].clone()),
    Case("relu", "pointwise", (_MAP,), 8 * _COUNT, 0, 0.9, 1,
         lambda fc, F, t: F.relu(t[0]), lambda torch, F, t: F.relu(t[0])),
    Case("add", "pointwise", (_MAP, _MAP), 12 * _COUNT, 0, 0.9, 1,
         lambda fc, F, t: t[0] + t[1], lambda torch, F, t: t[0] + t[1]),
    Case("gelu", "pointwise", (_MAP,), 8 * _COUNT, 0, 0.8, 1,
         lambda fc, F, t: F.gelu(t[0]), lambda torch, F, t: F.gelu(t[0])),
    Case("sum", "reduction", (_MAP,), 4 * _COUNT, 0, 0.4, 2,
         lambda fc, F, t: F.sum(t[0]), lambda torch, F, t: t[0].sum()),
    Case("max_pool 3x3/2", "pooling", (_MAP,), 5 * _COUNT, 0, 0.5, 1,
         lambda fc, F, t: F.max_pool2d(t[0], 3, 2, 1), lambda torch, F, t: F.max_pool2d(t[0], 3, 2, 1)),
    Case("dropout", "dropout", (_MAP,), 8 * _COUNT, 0, 0.7, 1,
         lambda fc, F, t: F.dropout(t[0], 0.5), lambda torch, F, t: F.dropout(t[0], 0.5)),
    Case("batch_norm training", "norm", (_MAP, (64,), (64,)), 12 * _COUNT, 0, 0.5, 3,
         lambda fc, F, t: F.batch_norm(t[0], None, None, t[1], t[2], training=True),
         lambda torch, F, t: F.batch_norm(t[0], None, None, t[1], t[2], training=True)),
    Case("linear 4096", "gemm", ((4096, 4096), (4096, 4096)), 12 * 4096.0**2, 2 * 4096.0**3, 0.25, 1,
         lambda fc, F, t: F.linear(*t), lambda torch, F, t: F.linear(*t)),
    _conv("conv 3x3 64>64 @56", 64, 64, 64, 56, 3, 1, 1, 0.4),
    _conv("conv 3x3 64>64 @56 im2col", 64, 64, 64, 56, 3, 1, 1, 0.4, algo="im2col", more=8 * 576 * _COUNT / 64,
          launches=15),
    _conv("conv 1x1 256>64 @56", 64, 256, 64, 56, 1, 1, 1, 0.4),
    _conv("conv 3x3/2 128>128 @56", 64, 128, 128, 56, 3, 2, 1, 0.4),
    _conv("conv 7x7/2 3>64 @224", 64, 3, 64, 224, 7, 2, 1, 0.3),
    _conv("depthwise 3x3 144 @56", 64, 144, 144, 56, 3, 1, 144, 0.25),
)  # fmt: skip


def predicted(case: Case) -> dict[str, Any]:
    """Seconds by the larger of the two floors, and by the share of it that is expected."""
    floors = {
        "memory": case.bytes / CEILINGS["copy_bytes_per_s"],
        "arithmetic": case.flops / CEILINGS["fp32_flops_per_s"],
    }
    bound = max(floors, key=lambda k: floors[k])
    launches = case.launches * CEILINGS["launch_s"]
    return {
        "family": case.family,
        "bound": bound,
        "bytes": case.bytes,
        "flops": case.flops,
        "floor_us": round(1e6 * (floors[bound] + launches), 2),
        "expected_us": round(1e6 * (floors[bound] / case.share + launches), 2),
        "share": case.share,
    }


def table() -> dict[str, Any]:
    return {"card": "h200", "ceilings": CEILINGS, "cases": {c.name: predicted(c) for c in CASES}}


def text() -> str:
    """The file: one line per case."""
    found = table()
    rows = ",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in found["cases"].items())
    return (
        f'{{\n "card": {json.dumps(found["card"])},\n "ceilings": {json.dumps(found["ceilings"])},\n'
        f' "cases": {{\n{rows}\n }}\n}}\n'
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help=f"keep the predictions in {PREDICTED.name}")
    if parser.parse_args().write:
        PREDICTED.write_text(text())
    sys.stdout.write(text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
